// What two thresholds leave of a graph: the same rule as circuitlab/pruning.py, so slider and `prune` agree.

import type { GraphModel } from "./model";

const [CONSTANT, , ERROR, FEATURE, LOGIT] = [0, 1, 2, 3, 4];
const ROUNDING = 1e-7;
const SMALLEST_ROW = 1e-10;

export interface Thresholds {
  node_threshold: number;
  edge_threshold: number;
  density_threshold: number;
}

/** `nodes` and `edges`: 1 where shown. `score`: the influence an edge carries. The rest: how many are hidden, why. */
export interface Shown {
  nodes: Uint8Array;
  edges: Uint8Array;
  score: Float64Array;
  weakNodes: number;
  denseNodes: number;
  looseNodes: number;
  weakEdges: number;
}

export function shownBy(model: GraphModel, thresholds: Thresholds): Shown {
  const { kind, enter, density } = model.nodes;
  const nodes = new Uint8Array(model.count);
  let [weakNodes, denseNodes] = [0, 0];
  const all = thresholds.node_threshold >= 1 && thresholds.edge_threshold >= 1;
  for (let row = 0; row < model.count; row++) {
    const dense = (density[row] ?? 0) > thresholds.density_threshold;
    const weak = !all && (enter[row] ?? 0) > 0 && (enter[row] ?? 0) >= thresholds.node_threshold;
    if (dense) denseNodes++;
    else if (weak) weakNodes++;
    else nodes[row] = 1;
  }
  const edges = new Uint8Array(model.edgeCount);
  for (let edge = 0; edge < model.edgeCount; edge++)
    edges[edge] = (nodes[model.source[edge]!] ?? 0) & (nodes[model.target[edge]!] ?? 0);
  const inside = countEdges(model, edges);
  const score = edgeInfluence(model, edges);
  let looseNodes = 0;
  if (!all) {
    const least = cutoff(score, thresholds.edge_threshold);
    for (let edge = 0; edge < model.edgeCount; edge++)
      if (edges[edge] && (kind[model.source[edge]!] === CONSTANT || (score[edge] ?? 0) < least))
        edges[edge] = 0;
    looseNodes = dropLoose(model, nodes, edges);
  }
  return {
    nodes,
    edges,
    score,
    weakNodes,
    denseNodes,
    looseNodes,
    weakEdges: inside - countEdges(model, edges),
  };
}

/** How many edges there are, as Python's `graph.counts` has it: without those of constants. */
export function countEdges(model: GraphModel, kept?: Uint8Array): number {
  let sum = 0;
  for (let edge = 0; edge < model.edgeCount; edge++)
    if ((kept?.[edge] ?? 1) && model.nodes.kind[model.source[edge]!] !== CONSTANT) sum++;
  return sum;
}

/** Influence along every kept edge, 0 on the others and on those from constants. */
export function edgeInfluence(model: GraphModel, kept: Uint8Array): Float64Array {
  const { kind, probability } = model.nodes;
  const reach = new Float64Array(model.count);
  for (let row = 0; row < model.count; row++)
    if (kind[row] === LOGIT) reach[row] = Number.isNaN(probability[row]!) ? 1 : probability[row]!;
  const score = new Float64Array(model.edgeCount);
  for (let row = model.count - 1; row >= 0; row--) {
    if (!reach[row]) continue;
    let sum = 0;
    for (const edge of model.inputs(row)) if (counts(model, kept, edge)) sum += Math.abs(model.weight[edge]!);
    const factor = reach[row]! / Math.max(sum, SMALLEST_ROW);
    for (const edge of model.inputs(row)) {
      if (!counts(model, kept, edge)) continue;
      score[edge] = factor * Math.abs(model.weight[edge]!);
      reach[model.source[edge]!]! += score[edge]!;
    }
  }
  return score;
}

function counts(model: GraphModel, kept: Uint8Array, edge: number): boolean {
  return kept[edge] === 1 && model.nodes.kind[model.source[edge]!] !== CONSTANT;
}

/** The smallest value to keep so that the kept ones hold this share of all. */
export function cutoff(values: Float64Array, share: number): number {
  const rising = values.filter((value) => value > 0).sort();
  if (!rising.length) return Number.POSITIVE_INFINITY;
  if (share >= 1) return rising[0]!;
  let total = 0;
  for (let at = rising.length - 1; at >= 0; at--) total += rising[at]!;
  let held = 0;
  for (let at = rising.length - 1; at >= 0; at--) {
    held += rising[at]!;
    if (held / total >= share) return rising[at]! * (1 - ROUNDING);
  }
  return rising[0]!;
}

/** Take away features and errors without outputs, and features without inputs, until none is left to drop. */
function dropLoose(model: GraphModel, nodes: Uint8Array, edges: Uint8Array): number {
  const { kind } = model.nodes;
  let dropped = 0;
  for (;;) {
    const [hasInput, hasOutput] = [new Uint8Array(model.count), new Uint8Array(model.count)];
    for (let edge = 0; edge < model.edgeCount; edge++) {
      if (!edges[edge]) continue;
      hasInput[model.target[edge]!] = 1;
      hasOutput[model.source[edge]!] = 1;
    }
    let now = 0;
    for (let row = 0; row < model.count; row++) {
      const inner = kind[row] === FEATURE || kind[row] === ERROR;
      if (!nodes[row] || !inner || (hasOutput[row] && (kind[row] === ERROR || hasInput[row]))) continue;
      nodes[row] = 0;
      now++;
    }
    if (!now) return dropped;
    dropped += now;
    for (let edge = 0; edge < model.edgeCount; edge++)
      if (!nodes[model.source[edge]!] || !nodes[model.target[edge]!]) edges[edge] = 0;
  }
}
