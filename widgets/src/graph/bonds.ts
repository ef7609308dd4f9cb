// The subgraph's edges: arrows that end side by side at a box, dashed where negative, and their sums where there is room.

import { formatSigned } from "../shared/numbers";
import { svg } from "../shared/svg";
import type { Colours } from "../shared/theme";
import { bendOf, curveAt } from "./arrange";
import type { Bond } from "./groups";

/** A box in pixels, by its middle. */
export interface Spot {
  x: number;
  y: number;
  wide: number;
  high: number;
  title: string;
}

type Point = [number, number];
type Area = readonly [left: number, top: number, right: number, foot: number];

const MOST = 60;
/** Edges below this share of the strongest are left out, as in figures. */
const WEAKEST = 0.02;
const LABELLED = 0.3;
const PORT = 11;

/** Arrows between the spots; those of the spot that is pointed at stand out, and say their weights. */
export function drawBonds(
  spots: readonly Spot[],
  bonds: readonly Bond[],
  colours: Colours,
  pointed: number | null,
): SVGElement[] {
  const largest = Math.abs(bonds[0]?.weight ?? 1) || 1;
  const drawn = bonds.filter(({ weight }) => Math.abs(weight) > WEAKEST * largest).slice(0, MOST);
  const ends = portsOf(spots, drawn);
  const taken: Area[] = spots.map(({ x, y, wide, high }) => [
    x - wide / 2,
    y - high / 2,
    x + wide / 2,
    y + high / 2,
  ]);
  const labels: SVGElement[] = [];
  const arrows = drawn.map(({ source, target, weight }, i) => {
    const strength = Math.sqrt(Math.abs(weight) / largest);
    const lit = pointed === null || pointed === source || pointed === target;
    const [from, to] = ends[i]!;
    const said = pointed === null ? strength > LABELLED : lit;
    const at = said ? roomFor(formatSigned(weight), from, to, taken) : null;
    if (at) labels.push(svg("text", { x: at[0], y: at[1], "text-anchor": "middle" }, formatSigned(weight)));
    const group = svg("g", { opacity: (0.22 + 0.68 * strength) * (lit ? 1 : 0.2) });
    group.append(...arrow(from, to, 0.9 + 3.2 * strength, weight, colours));
    const words = `${spots[source]?.title} → ${spots[target]?.title}: ${formatSigned(weight)}`;
    group.append(svg("title", {}, words));
    return group;
  });
  return [...arrows.reverse(), ...labels];
}

/** Line, head and, for the pointer, a broader line that is not seen. */
function arrow(from: Point, to: Point, width: number, weight: number, colours: Colours): SVGElement[] {
  const colour = weight < 0 ? colours.negative : colours.positive;
  const [long, half] = [5 + 1.4 * width, 2.6 + 0.8 * width];
  const foot: Point = [to[0], to[1] + long - 1];
  const bend = bendOf(from[1] - foot[1]);
  const d = `M${from[0]} ${from[1]}C${from[0]} ${from[1] - bend} ${foot[0]} ${foot[1] + bend} ${foot[0]} ${foot[1]}`;
  const line = svg("path", { class: "bond", d, stroke: colour, "stroke-width": width });
  if (weight < 0) line.setAttribute("stroke-dasharray", `${2.2 * width} ${1.4 * width}`);
  const [x, y] = to;
  const head = svg("path", {
    d: `M${x} ${y}L${x - half} ${y + long}L${x + half} ${y + long}Z`,
    fill: colour,
  });
  return [line, head, svg("path", { class: "bond hit", d })];
}

/** Where each edge leaves and arrives: side by side along the box, in the order of their other ends. */
export function portsOf(spots: readonly Spot[], bonds: readonly Bond[]): [Point, Point][] {
  const ends: [Point, Point][] = bonds.map(() => [
    [0, 0],
    [0, 0],
  ]);
  spots.forEach((spot, at) => {
    for (const [side, own, other] of [
      [0, "source", "target"],
      [1, "target", "source"],
    ] as const) {
      const mine = bonds.flatMap((bond, i) => (bond[own] === at ? [i] : []));
      mine.sort((a, b) => spots[bonds[a]![other]]!.x - spots[bonds[b]![other]]!.x || a - b);
      const step = Math.min(PORT, (spot.wide - 20) / Math.max(1, mine.length - 1));
      mine.forEach((i, k) => {
        const shift = (k - (mine.length - 1) / 2) * step;
        ends[i]![side] = [spot.x + shift, spot.y + (side ? spot.high / 2 + 2 : -spot.high / 2)];
      });
    }
  });
  return ends;
}

/** A place on the edge where a text touches no box and no other text; it is then taken. */
function roomFor(text: string, from: Point, to: Point, taken: Area[]): Point | null {
  const [halfWide, halfHigh] = [3.3 * text.length + 2, 7];
  // A text on a short edge would hide it, so it stands beside.
  const aside = Math.abs(from[1] - to[1]) < 48 ? halfWide + 7 : 0;
  const along = [0.5, 0.42, 0.58, 0.34, 0.66, 0.26, 0.74];
  for (const [t, side] of along.flatMap(
    (t) =>
      (aside
        ? [
            [t, aside],
            [t, -aside],
          ]
        : [[t, 0]]) as [number, number][],
  )) {
    const [middle, y] = curveAt(from, to, t);
    const x = middle + side;
    const area: Area = [x - halfWide, y - halfHigh, x + halfWide, y + halfHigh];
    if (taken.some((a) => a[0] < area[2] && a[2] > area[0] && a[1] < area[3] && a[3] > area[1])) continue;
    taken.push(area);
    return [x, y];
  }
  return null;
}
