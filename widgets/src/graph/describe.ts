// Nodes in words, for tooltips, tables and screen readers.

import type { GraphData, Kind } from "../shared/data";
import { formatNumber, formatPercent } from "../shared/numbers";
import type { GraphModel } from "./model";

export const KIND_NAMES: Record<Kind, string> = {
  feature: "feature",
  error: "error",
  token: "token",
  logit: "answer",
  constant: "constant",
};

/** What a node is called without a label: "L3/55", "error L3", else the name it came with. */
export function plainName(model: GraphModel, row: number): string {
  const [kind, layer, feature] = [
    model.kindOf(row),
    model.number("layer", row),
    model.number("feature", row),
  ];
  if (kind === "feature" && layer !== null && feature !== null) return `L${layer}/${feature}`;
  if (kind === "error" && layer !== null) return `error L${layer}`;
  return model.strings.name[row] || (model.strings.id[row] ?? "");
}

/** "6 Dallas", or nothing for a node without a position. */
export function placeOf(graph: GraphData, row: number): string {
  const pos = graph.nodes.pos[row] ?? null;
  return pos === null ? "" : `${pos} ${graph.tokens[pos] ?? ""}`.trim();
}

/** "L3/55" for a feature, nothing for other nodes. */
export function numberOf(graph: GraphData, row: number): string {
  const [layer, feature] = [graph.nodes.layer[row] ?? null, graph.nodes.feature[row] ?? null];
  const isFeature = graph.nodes.kind[row] === "feature" && layer !== null && feature !== null;
  return isFeature ? `L${layer}/${feature}` : "";
}

/** What is known of a node, as pairs of a term and its value; missing values are left out. */
export function factsOf(graph: GraphData, row: number): [string, string][] {
  const { nodes } = graph;
  const layer = nodes.layer[row] ?? null;
  const facts: [string, string][] = [
    ["kind", KIND_NAMES[nodes.kind[row] ?? "constant"]],
    ["feature", numberOf(graph, row)],
    ["layer", layer === null ? "" : String(layer)],
    ["position", placeOf(graph, row)],
    ["activation", formatNumber(nodes.activation[row] ?? null)],
    ["pre-activation", formatNumber(nodes.pre_activation[row] ?? null)],
    ["probability", formatPercent(nodes.probability[row] ?? null)],
    ["influence", formatNumber(nodes.influence[row] ?? null)],
    ["supernode", nodes.supernode[row] ?? ""],
    ["id", nodes.id[row] ?? ""],
  ];
  return facts.filter(([, value]) => value !== "");
}
