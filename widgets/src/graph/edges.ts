// Edges on canvas: the strongest crisp, by sign, size and dash; all others as a haze.

import type { Colours } from "../shared/theme";
import type { GraphModel } from "./model";
import { curvesOf, type Place } from "./place";
import type { Shown } from "./prune";
import type { Drawing } from "./sheet";

const CRISP = 1800;
const [DASH, GAP] = [2.2, 1.4];
/** Edges drawn before looking at the clock. */
const [CRISP_SLICE, HAZE_SLICE] = [40, 80];

/** Which edges are crisp and which are haze; the crisp ones weakest first. */
export class EdgeSet {
  readonly crisp: Int32Array;
  readonly haze: Int32Array;
  readonly limit: number;

  constructor(
    readonly model: GraphModel,
    readonly place: Place,
    shown: Shown,
    most = CRISP,
  ) {
    const { kind } = model.nodes;
    const found: number[] = [];
    for (let edge = 0; edge < model.edgeCount; edge++)
      if (shown.edges[edge] && kind[model.source[edge]!] !== 0) found.push(edge);
    const least = atRank(
      Float64Array.from(found, (edge) => shown.score[edge]!),
      found.length - most,
    );
    const [crisp, haze]: [number[], number[]] = [[], []];
    for (const edge of found) (shown.score[edge]! >= least ? crisp : haze).push(edge);
    // Equal scores may bring more than `most`.
    haze.push(...crisp.splice(most));
    const size = (edge: number) => Math.abs(model.weight[edge]!);
    this.crisp = Int32Array.from(crisp).sort((a, b) => size(a) - size(b));
    this.haze = Int32Array.from(haze);
    this.limit = Math.max(
      atRank(Float64Array.from(found, size), Math.floor(0.98 * (found.length - 1))),
      1e-30,
    );
  }

  strength(edge: number): number {
    return Math.sqrt(Math.min(1, Math.abs(this.model.weight[edge] ?? 0) / this.limit));
  }
}

/** The value with this many smaller ones. */
function atRank(values: Float64Array, rank: number): number {
  return values.sort()[Math.max(0, rank)] ?? 0;
}

function trace(context: CanvasRenderingContext2D, curves: Float32Array, i: number): void {
  const at = 8 * i;
  context.moveTo(curves[at]!, curves[at + 1]!);
  context.bezierCurveTo(
    curves[at + 2]!,
    curves[at + 3]!,
    curves[at + 4]!,
    curves[at + 5]!,
    curves[at + 6]!,
    curves[at + 7]!,
  );
}

export function* drawCrisp(context: CanvasRenderingContext2D, set: EdgeSet, colours: Colours): Drawing {
  const edges = set.crisp;
  const curves = curvesOf(set.model, set.place, edges);
  const thinning = Math.min(1.1, Math.max(0.5, (250 / Math.max(edges.length, 1)) ** 0.25));
  for (let i = 0; i < edges.length; i++) {
    const strength = set.strength(edges[i]!);
    const opacity = Math.min(0.85, Math.max(0.04, (0.12 + 0.7 * strength ** 1.5) * thinning));
    stroke(context, set, edges[i]!, curves, i, set.place.em * (0.03 + 0.13 * strength), opacity, colours);
    if (i % CRISP_SLICE === CRISP_SLICE - 1) yield;
  }
}

/** Some edges, stronger than at rest: those of the node that is pointed at, or of a path. */
export function drawLit(
  context: CanvasRenderingContext2D,
  set: EdgeSet,
  edges: readonly number[],
  colours: Colours,
): void {
  const curves = curvesOf(set.model, set.place, edges);
  const largest = edges.reduce((most, edge) => Math.max(most, Math.abs(set.model.weight[edge]!)), 1e-30);
  edges.forEach((edge, i) => {
    const strength = Math.sqrt(Math.abs(set.model.weight[edge]!) / largest);
    stroke(
      context,
      set,
      edge,
      curves,
      i,
      set.place.em * (0.05 + 0.2 * strength),
      0.25 + 0.65 * strength,
      colours,
    );
  });
}

function stroke(
  context: CanvasRenderingContext2D,
  set: EdgeSet,
  edge: number,
  curves: Float32Array,
  i: number,
  width: number,
  opacity: number,
  colours: Colours,
): void {
  const negative = set.model.weight[edge]! < 0;
  context.lineWidth = width;
  context.globalAlpha = opacity;
  context.strokeStyle = negative ? colours.negative : colours.positive;
  context.setLineDash(negative ? [DASH * width, GAP * width] : []);
  context.beginPath();
  trace(context, curves, i);
  context.stroke();
}

/** All other edges, thin and faint; the more there are, the fainter. */
export function* drawHaze(
  context: CanvasRenderingContext2D,
  set: EdgeSet,
  scale: number,
  colours: Colours,
): Drawing {
  const edges = set.haze;
  context.lineWidth = 0.6 / scale;
  context.globalAlpha = Math.min(0.14, Math.max(0.03, 12 / Math.sqrt(edges.length + 1) / 10));
  for (let from = 0; from < edges.length; from += HAZE_SLICE) {
    const some = edges.subarray(from, from + HAZE_SLICE);
    const curves = curvesOf(set.model, set.place, some);
    for (const negative of [false, true]) {
      context.strokeStyle = negative ? colours.negative : colours.positive;
      context.beginPath();
      for (let i = 0; i < some.length; i++)
        if (set.model.weight[some[i]!]! < 0 === negative) trace(context, curves, i);
      context.stroke();
    }
    yield;
  }
}
