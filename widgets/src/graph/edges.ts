// Edges on canvas: the strongest crisp, by sign, size and dash; all others as a haze, drawn a little per frame.

import type { Colours } from "../shared/theme";
import type { GraphModel } from "./model";
import { curvesOf, type Place } from "./place";
import type { Shown } from "./prune";

export interface Camera {
  scale: number;
  x: number;
  y: number;
}

const CRISP = 1800;
const FRAME_BUDGET = 6;
const [DASH, GAP] = [2.2, 1.4];

interface Drawn {
  edges: Int32Array;
  curves: Float32Array;
}

/** Which edges are crisp and which are haze, with their curves, weakest first. */
export class EdgeSet {
  readonly crisp: Drawn;
  readonly haze: Drawn;
  readonly limit: number;

  constructor(
    readonly model: GraphModel,
    readonly place: Place,
    shown: Shown,
  ) {
    const { kind } = model.nodes;
    const found: number[] = [];
    for (let edge = 0; edge < model.edgeCount; edge++)
      if (shown.edges[edge] && kind[model.source[edge]!] !== 0) found.push(edge);
    const ranked = Int32Array.from(found).sort((a, b) => shown.score[a]! - shown.score[b]!);
    const split = Math.max(0, ranked.length - CRISP);
    const make = (edges: Int32Array): Drawn => ({ edges, curves: curvesOf(model, place, edges) });
    this.haze = make(ranked.subarray(0, split));
    this.crisp = make(
      ranked.subarray(split).sort((a, b) => Math.abs(model.weight[a]!) - Math.abs(model.weight[b]!)),
    );
    const sizes = Float32Array.from(ranked, (edge) => Math.abs(model.weight[edge]!)).sort();
    this.limit = Math.max(sizes[Math.floor(0.98 * (sizes.length - 1))] ?? 0, 1e-30);
  }

  strength(edge: number): number {
    return Math.sqrt(Math.min(1, Math.abs(this.model.weight[edge] ?? 0) / this.limit));
  }
}

/** A canvas as large as its stage, sharp on dense screens. */
export class Sheet {
  readonly canvas = document.createElement("canvas");
  readonly context: CanvasRenderingContext2D;

  constructor(name: string) {
    this.canvas.className = name;
    const context = this.canvas.getContext("2d");
    if (!context) throw new Error("this browser draws no canvas");
    this.context = context;
  }

  /** Empty it, and set its size and camera. */
  clear(width: number, height: number, camera: Camera): CanvasRenderingContext2D {
    const dense = Math.min(2, globalThis.devicePixelRatio || 1);
    const [wide, high] = [Math.round(width * dense), Math.round(height * dense)];
    if (this.canvas.width !== wide || this.canvas.height !== high) {
      this.canvas.width = wide;
      this.canvas.height = high;
    }
    this.context.setTransform(1, 0, 0, 1, 0, 0);
    this.context.clearRect(0, 0, wide, high);
    const scale = dense * camera.scale;
    this.context.setTransform(scale, 0, 0, scale, dense * camera.x, dense * camera.y);
    return this.context;
  }
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

export function drawCrisp(context: CanvasRenderingContext2D, set: EdgeSet, colours: Colours): void {
  const { edges, curves } = set.crisp;
  const thinning = Math.min(1.1, Math.max(0.5, (250 / Math.max(edges.length, 1)) ** 0.25));
  for (let i = 0; i < edges.length; i++) {
    const strength = set.strength(edges[i]!);
    const opacity = Math.min(0.85, Math.max(0.04, (0.12 + 0.7 * strength ** 1.5) * thinning));
    stroke(context, set, edges[i]!, curves, i, set.place.em * (0.03 + 0.13 * strength), opacity, colours);
  }
  context.setLineDash([]);
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
  context.setLineDash([]);
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

/** Draws the haze over as many frames as it takes; a new call abandons the old drawing. */
export class Haze {
  private generation = 0;
  private front: Sheet;
  private back: Sheet;

  constructor(private readonly holder: HTMLElement) {
    [this.front, this.back] = [new Sheet("haze"), new Sheet("haze")];
    holder.append(this.front.canvas, this.back.canvas);
    this.back.canvas.hidden = true;
  }

  cancel(): void {
    this.generation++;
  }

  draw(
    set: EdgeSet,
    width: number,
    height: number,
    camera: Camera,
    colours: Colours,
    done: () => void,
  ): void {
    const generation = ++this.generation;
    const { edges, curves } = set.haze;
    const context = this.back.clear(width, height, camera);
    context.lineWidth = 0.6 / camera.scale;
    context.globalAlpha = Math.min(0.14, Math.max(0.03, 12 / Math.sqrt(edges.length + 1) / 10));
    let at = 0;
    const step = () => {
      if (generation !== this.generation || !this.holder.isConnected) return;
      const until = performance.now() + FRAME_BUDGET;
      while (at < edges.length && performance.now() < until)
        at = this.batch(context, set, curves, at, colours);
      if (at < edges.length) {
        requestAnimationFrame(step);
        return;
      }
      [this.front, this.back] = [this.back, this.front];
      this.front.canvas.hidden = false;
      this.back.canvas.hidden = true;
      done();
    };
    step();
  }

  private batch(
    context: CanvasRenderingContext2D,
    set: EdgeSet,
    curves: Float32Array,
    from: number,
    colours: Colours,
  ): number {
    const { edges } = set.haze;
    const to = Math.min(edges.length, from + 60);
    for (const negative of [false, true]) {
      context.strokeStyle = negative ? colours.negative : colours.positive;
      context.beginPath();
      for (let i = from; i < to; i++)
        if (set.model.weight[edges[i]!]! < 0 === negative) trace(context, curves, i);
      context.stroke();
    }
    return to;
  }
}
