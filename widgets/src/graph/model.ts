// The whole graph in typed arrays: what the kernel sends once (circuitlab/widgets/columns.py).

import type { Kind } from "../shared/data";

export const KINDS: readonly Kind[] = ["constant", "token", "error", "feature", "logit"];

/** In the order of columns.py's NODE_NUMBERS. */
const NODE_NUMBERS = [
  "kind",
  "layer",
  "pos",
  "feature",
  "activation",
  "pre_activation",
  "probability",
  "influence",
  "enter",
  "into",
  "out_of",
  "density",
] as const;

type NodeNumbers = Record<(typeof NODE_NUMBERS)[number], Float32Array>;

export interface Strings {
  prompt: string;
  tokens: string[];
  id: string[];
  name: string[];
  n_edges: number;
  n_layers: number;
  pruned: boolean;
  neurons?: boolean;
  neuronpedia?: string;
}

/** Missing numbers are NaN. Edges are sorted by target; a source's row is below its target's. */
export class GraphModel {
  readonly count: number;
  readonly edgeCount: number;
  readonly nodes: NodeNumbers;
  readonly source: Int32Array;
  readonly target: Int32Array;
  readonly weight: Float32Array;
  readonly rowOf: ReadonlyMap<string, number>;
  readonly hasDensity: boolean;
  private readonly firstInput: Int32Array;
  private readonly firstOutput: Int32Array;
  private readonly byOutput: Int32Array;

  constructor(
    readonly strings: Strings,
    numbers: Float32Array,
    edges: Int32Array,
  ) {
    this.count = strings.id.length;
    if (numbers.length !== this.count * NODE_NUMBERS.length)
      throw new Error(
        `${numbers.length} numbers came for ${this.count} nodes; expected ${NODE_NUMBERS.length} each`,
      );
    if (edges.length % 3)
      throw new Error(`edges come in three columns of equal length, not ${edges.length} values`);
    this.nodes = Object.fromEntries(
      NODE_NUMBERS.map((name, at) => [name, numbers.subarray(at * this.count, (at + 1) * this.count)]),
    ) as NodeNumbers;
    this.edgeCount = edges.length / 3;
    this.source = edges.subarray(0, this.edgeCount);
    this.target = edges.subarray(this.edgeCount, 2 * this.edgeCount);
    this.weight = new Float32Array(edges.buffer, edges.byteOffset + 8 * this.edgeCount, this.edgeCount);
    this.rowOf = new Map(strings.id.map((id, row) => [id, row]));
    this.hasDensity = this.nodes.density.some((value) => !Number.isNaN(value));
    this.firstInput = starts(this.target, this.count);
    this.firstOutput = starts(this.source, this.count);
    this.byOutput = new Int32Array(this.edgeCount);
    const next = this.firstOutput.slice();
    this.source.forEach((row, edge) => {
      this.byOutput[next[row]!++] = edge;
    });
  }

  kindOf(row: number): Kind {
    return KINDS[this.nodes.kind[row] ?? 0] ?? "constant";
  }

  /** Edges into a node, in the order of their sources. */
  *inputs(row: number): Generator<number> {
    for (let edge = this.firstInput[row] ?? 0; edge < (this.firstInput[row + 1] ?? 0); edge++) yield edge;
  }

  *outputs(row: number): Generator<number> {
    for (let at = this.firstOutput[row] ?? 0; at < (this.firstOutput[row + 1] ?? 0); at++)
      yield this.byOutput[at] ?? 0;
  }

  /** The node's rows as numbers, or null where missing. */
  number(name: keyof NodeNumbers, row: number): number | null {
    const value = this.nodes[name][row];
    return value === undefined || Number.isNaN(value) ? null : value;
  }
}

function starts(rows: Int32Array, count: number): Int32Array {
  const first = new Int32Array(count + 1);
  for (const row of rows) {
    if (!(row >= 0 && row < count)) throw new Error(`an edge names row ${row}; there are ${count} nodes`);
    first[row + 1]!++;
  }
  for (let row = 0; row < count; row++) first[row + 1]! += first[row]!;
  return first;
}

/** Edges by falling |weight|. */
export function strongest(model: GraphModel, edges: Iterable<number>): number[] {
  const size = (edge: number) => Math.abs(model.weight[edge] ?? 0);
  return [...edges].sort((a, b) => size(b) - size(a) || a - b);
}
