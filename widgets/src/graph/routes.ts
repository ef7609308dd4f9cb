// The strongest path through a node: from a token to it, and from it to an answer.

import type { GraphModel } from "./model";
import type { Shown } from "./prune";

/** Nodes of the path that multiplies the largest shares |weight| / Σ |weight into|, in order; and its edges. */
export function pathThrough(
  model: GraphModel,
  shown: Shown,
  row: number,
): { nodes: number[]; edges: number[] } {
  const down = follow(model, shown, row, "inputs");
  const up = follow(model, shown, row, "outputs");
  return {
    nodes: [...down.nodes.reverse(), row, ...up.nodes],
    edges: [...down.edges.reverse(), ...up.edges],
  };
}

const ENDS = { inputs: "token", outputs: "logit" } as const;

/** The best way from `start` to an end: products of shares, built up from the ends in topological order. */
function follow(
  model: GraphModel,
  shown: Shown,
  start: number,
  side: "inputs" | "outputs",
): { nodes: number[]; edges: number[] } {
  const best = new Float64Array(model.count);
  const via = new Int32Array(model.count).fill(-1);
  const other = side === "inputs" ? model.source : model.target;
  const order = Array.from({ length: side === "inputs" ? start + 1 : model.count - start }, (_, i) =>
    side === "inputs" ? i : model.count - 1 - i,
  );
  for (const row of order) {
    if (model.kindOf(row) === ENDS[side]) best[row] = 1;
    else
      for (const edge of model[side](row)) {
        if (!shown.edges[edge]) continue;
        const into = model.nodes.into[model.target[edge]!] || 1;
        const value = (Math.abs(model.weight[edge]!) / into) * best[other[edge]!]!;
        if (value > best[row]!) [best[row], via[row]] = [value, edge];
      }
  }
  const [nodes, edges]: [number[], number[]] = [[], []];
  for (let row = start, edge = via[row]!; edge >= 0; edge = via[row]!) {
    edges.push(edge);
    row = other[edge]!;
    nodes.push(row);
  }
  return { nodes, edges };
}
