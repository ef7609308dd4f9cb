// What a traced graph looks like in the browser: columns of equal length, written by circuitlab/page.py.

export type Kind = "constant" | "token" | "error" | "feature" | "logit";

export interface NodeColumns {
  id: string[];
  kind: Kind[];
  name: string[];
  supernode: (string | null)[];
  layer: (number | null)[];
  pos: (number | null)[];
  feature: (number | null)[];
  activation: (number | null)[];
  pre_activation: (number | null)[];
  probability: (number | null)[];
  influence: (number | null)[];
}

/** Edges by falling |weight|; `source` and `target` are rows of the nodes. */
export interface EdgeColumns {
  source: number[];
  target: number[];
  weight: number[];
  share: (number | null)[];
}

export interface GraphData {
  tokens: string[];
  nodes: NodeColumns;
  edges: EdgeColumns;
}

/** Parse and check the page's JSON: a column of another length would show one node's numbers at another. */
export function readGraph(text: string): GraphData {
  const data = JSON.parse(text) as GraphData;
  checkLengths("nodes", data.nodes, data.nodes.id.length);
  checkLengths("edges", data.edges, data.edges.source.length);
  const rows = data.nodes.id.length;
  for (const end of ["source", "target"] as const) {
    const wrong = data.edges[end].find((row) => !(row >= 0 && row < rows));
    if (wrong !== undefined) throw new Error(`edges.${end} names row ${wrong}; there are ${rows} nodes`);
  }
  return data;
}

function checkLengths(table: string, columns: object, expected: number): void {
  for (const [name, values] of Object.entries(columns)) {
    if (!Array.isArray(values) || values.length !== expected) {
      const found = Array.isArray(values) ? `${values.length} values` : typeof values;
      throw new Error(`${table}.${name} holds ${found}; expected ${expected} values`);
    }
  }
}
