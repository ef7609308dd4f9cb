// Which nodes and edges belong to one that is pointed at, and how much is shown and hidden, in words.

import { formatCount } from "../shared/numbers";
import { type GraphModel, strongest } from "./model";
import { countEdges, type Shown } from "./prune";
import type { Lit } from "./stage";
import type { ViewState } from "./state";

const MOST_LIT = 1500;

/** These nodes with their shown edges, as the link mode says; weakest first. */
export function around(model: GraphModel, shown: Shown, state: ViewState, rows: readonly number[]): Lit {
  const nodes = new Set(rows);
  const edges = new Set<number>();
  const add = (edge: number) => {
    if (shown.edges[edge]) edges.add(edge);
  };
  for (const row of rows) {
    if (state.link_mode !== "outputs") for (const edge of model.inputs(row)) add(edge);
    if (state.link_mode !== "inputs") for (const edge of model.outputs(row)) add(edge);
  }
  if (state.link_mode === "both") {
    const ids = [...state.pinned, ...Object.values(state.supernodes).flat()];
    const kept = new Set(ids.flatMap((id) => model.rowOf.get(id) ?? []));
    for (const row of kept)
      for (const edge of model.inputs(row)) if (kept.has(model.source[edge]!)) add(edge);
  }
  for (const edge of edges) nodes.add(model.source[edge]!).add(model.target[edge]!);
  return { nodes, edges: strongest(model, edges).slice(0, MOST_LIT).reverse() };
}

/** "100 of 969 nodes, …", and what is hidden with the reason, or "". */
export function countsOf(model: GraphModel, shown: Shown): [string, string] {
  let [nodes, total] = [0, 0];
  for (let row = 0; row < model.count; row++) {
    if (model.kindOf(row) === "constant") continue;
    total++;
    if (shown.nodes[row]) nodes++;
  }
  const edges = countEdges(model, shown.edges);
  const sent = countEdges(model);
  const reasons: [number, string][] = [
    [shown.weakNodes, "nodes below the node threshold"],
    [shown.looseNodes, "nodes left without edges"],
    [shown.denseNodes, "features too dense"],
    [shown.weakEdges, "edges below the edge threshold"],
    [sent - edges - shown.weakEdges, "of hidden nodes"],
    [model.strings.n_edges - sent, "weakest not sent"],
  ];
  const why = reasons.filter(([count]) => count > 0).map(([count, what]) => `${formatCount(count)} ${what}`);
  const bold = `${formatCount(nodes)} of ${formatCount(total)} nodes, ${formatCount(edges)} of ${formatCount(model.strings.n_edges)} edges`;
  const basis = model.strings.neurons ? " · MLP neurons, no transcoder" : "";
  return [bold + basis, why.join(", ")];
}
