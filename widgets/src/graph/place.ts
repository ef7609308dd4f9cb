// Where everything stands: the kernel's layout, edges' curves as layout.py draws them, and what is under a point.

import type { GraphModel } from "./model";

interface PlaceStrings {
  width: number;
  height: number;
  em: number;
  rotation: number;
  columns: [number, number, number][];
  ticks: [number, number, string][];
  text: Record<string, string>;
  /** Text, x, y, text-anchor. */
  label: Record<string, [string, number, number, string]>;
}

export interface Place extends PlaceStrings {
  x: Float32Array;
  y: Float32Array;
  wide: Float32Array;
  high: Float32Array;
}

export function readPlace(count: number, numbers: Float32Array, strings: string): Place {
  if (numbers.length !== 4 * count)
    throw new Error(`the layout holds ${numbers.length} numbers for ${count} nodes`);
  const column = (at: number) => numbers.subarray(at * count, (at + 1) * count);
  const texts = JSON.parse(strings) as PlaceStrings;
  return {
    ...texts,
    x: column(0),
    y: column(1),
    wide: column(2),
    high: column(3),
  };
}

/** The four control points of every given edge, eight numbers each. */
export function curvesOf(model: GraphModel, place: Place, edges: ArrayLike<number>): Float32Array {
  const curves = new Float32Array(8 * edges.length);
  const middle = new Map(place.columns.map(([pos, left, right]) => [pos, (left + right) / 2]));
  for (let i = 0; i < edges.length; i++) {
    const [source, target] = [model.source[edges[i]!]!, model.target[edges[i]!]!];
    const [sx, sy] = [place.x[source]!, place.y[source]! - place.high[source]! / 2];
    const [tx, ty] = [place.x[target]!, place.y[target]! + place.high[target]! / 2];
    const rise = sy - ty;
    const reach = 0.45 * Math.max(rise, 1.2 * place.em);
    const side = sx <= (middle.get(model.nodes.pos[source]!) ?? sx) ? -1 : 1;
    const room = Math.max(0, Math.min(0.12 * rise - 0.5 * Math.abs(tx - sx), 1.8 * place.em));
    const bow = rise > 3.5 * place.em ? side * room : 0;
    const at = 8 * i;
    curves[at] = sx;
    curves[at + 1] = sy;
    curves[at + 2] = sx + bow;
    curves[at + 3] = sy - reach;
    curves[at + 4] = tx + bow;
    curves[at + 5] = ty + reach;
    curves[at + 6] = tx;
    curves[at + 7] = ty;
  }
  return curves;
}

/** Finds the node under a point: a grid of the shown nodes. */
export class Finder {
  private readonly cells = new Map<number, number[]>();
  private readonly size: number;

  constructor(
    private readonly place: Place,
    rows: Iterable<number>,
  ) {
    this.size = 3 * place.em;
    for (const row of rows) {
      const [x, y] = [place.x[row]!, place.y[row]!];
      const [halfWide, halfHigh] = [place.wide[row]! / 2, place.high[row]! / 2];
      for (let i = this.cell(x - halfWide); i <= this.cell(x + halfWide); i++)
        for (let j = this.cell(y - halfHigh); j <= this.cell(y + halfHigh); j++) {
          const key = i * 65_536 + j;
          const found = this.cells.get(key);
          if (found) found.push(row);
          else this.cells.set(key, [row]);
        }
    }
  }

  /** The nearest node within `slack` of the point, or null. */
  at(x: number, y: number, slack: number): number | null {
    const { place } = this;
    let [best, least] = [-1, slack];
    const seen = Math.max(1, Math.ceil(slack / this.size));
    for (let i = this.cell(x) - seen; i <= this.cell(x) + seen; i++)
      for (let j = this.cell(y) - seen; j <= this.cell(y) + seen; j++)
        for (const row of this.cells.get(i * 65_536 + j) ?? []) {
          const dx = Math.max(0, Math.abs(place.x[row]! - x) - place.wide[row]! / 2);
          const dy = Math.max(0, Math.abs(place.y[row]! - y) - place.high[row]! / 2);
          const distance = Math.hypot(dx, dy) + 1e-3 * Math.hypot(place.x[row]! - x, place.y[row]! - y);
          if (distance < least) [best, least] = [row, distance];
        }
    return best < 0 ? null : best;
  }

  private cell(value: number): number {
    return Math.floor(value / this.size);
  }
}
