// What lights up together: a node with its edges and neighbours, an edge with its ends, a path.

import type { EdgeColumns } from "../shared/data";

/** The edges into and out of every node, strongest first. */
export interface Adjacency {
  inputs: number[][];
  outputs: number[][];
}

export function adjacency(edges: EdgeColumns, nodeCount: number): Adjacency {
  const inputs: number[][] = Array.from({ length: nodeCount }, () => []);
  const outputs: number[][] = Array.from({ length: nodeCount }, () => []);
  edges.source.forEach((source, edge) => {
    outputs[source]?.push(edge);
    inputs[edges.target[edge] ?? -1]?.push(edge);
  });
  return { inputs, outputs };
}

export type Focus =
  | { of: "node"; node: number }
  | { of: "edge"; edge: number }
  | { of: "path"; nodes: readonly number[] }
  | { of: "group"; nodes: readonly number[] };

/** `centre`: what was pointed at; `nodes` also holds its neighbours; `edges` what joins them. */
export interface Lit {
  centre: ReadonlySet<number>;
  nodes: ReadonlySet<number>;
  edges: ReadonlySet<number>;
}

export const NOTHING: Lit = { centre: new Set(), nodes: new Set(), edges: new Set() };

export function light(focus: Focus | null, edges: EdgeColumns, near: Adjacency): Lit {
  if (focus === null) return NOTHING;
  if (focus.of === "node") return lightNode(focus.node, edges, near);
  if (focus.of === "edge") {
    const ends = [edges.source[focus.edge], edges.target[focus.edge]].filter((row) => row !== undefined);
    return { centre: new Set(ends), nodes: new Set(ends), edges: new Set([focus.edge]) };
  }
  if (focus.of === "group") return lightGroup(focus.nodes, edges, near);
  return lightPath(focus.nodes, edges, near);
}

/** Several nodes at once, with every edge at any of them. */
function lightGroup(group: readonly number[], edges: EdgeColumns, near: Adjacency): Lit {
  const each = group.map((node) => lightNode(node, edges, near));
  return {
    centre: new Set(group),
    nodes: new Set(each.flatMap((lit) => [...lit.nodes])),
    edges: new Set(each.flatMap((lit) => [...lit.edges])),
  };
}

function lightNode(node: number, edges: EdgeColumns, near: Adjacency): Lit {
  const lit = [...(near.inputs[node] ?? []), ...(near.outputs[node] ?? [])];
  const nodes = new Set([node]);
  for (const edge of lit) {
    nodes.add(edges.source[edge] ?? node);
    nodes.add(edges.target[edge] ?? node);
  }
  return { centre: new Set([node]), nodes, edges: new Set(lit) };
}

/** A path may run over nodes that are not in the table (row -1): what is there lights up. */
function lightPath(path: readonly number[], edges: EdgeColumns, near: Adjacency): Lit {
  const lit = new Set<number>();
  for (let step = 1; step < path.length; step++) {
    const target = path[step] ?? -1;
    const edge = near.inputs[target]?.find((candidate) => edges.source[candidate] === path[step - 1]);
    if (edge !== undefined) lit.add(edge);
  }
  const nodes = new Set(path.filter((row) => row >= 0));
  return { centre: nodes, nodes, edges: lit };
}
