// The subgraph: pinned nodes and supernodes as units, and the edges between them, added up.

import type { GraphModel } from "./model";
import type { ViewState } from "./state";

/** A supernode or a pinned node; `key` is the supernode's name or the node's id. */
export interface Unit {
  key: string;
  isGroup: boolean;
  rows: number[];
}

export interface Bond {
  source: number;
  target: number;
  weight: number;
}

export function unitsOf(model: GraphModel, state: ViewState): Unit[] {
  const rows = (ids: readonly string[]) => ids.flatMap((id) => model.rowOf.get(id) ?? []);
  const groups = Object.entries(state.supernodes).map(([key, ids]) => ({
    key,
    isGroup: true,
    rows: rows(ids),
  }));
  const taken = new Set(Object.values(state.supernodes).flat());
  const single = state.pinned.filter((id) => !taken.has(id));
  return [...groups, ...single.map((id) => ({ key: id, isGroup: false, rows: rows([id]) }))].filter(
    (unit) => unit.rows.length,
  );
}

/** Sums of the weights from each unit to each other, strongest first; edges inside a unit are left out. */
export function bondsOf(model: GraphModel, units: readonly Unit[]): Bond[] {
  const unitOf = new Map(units.flatMap((unit, at) => unit.rows.map((row) => [row, at] as const)));
  const sums = new Map<string, Bond>();
  for (const [row, target] of unitOf)
    for (const edge of model.inputs(row)) {
      const source = unitOf.get(model.source[edge]!);
      if (source === undefined || source === target) continue;
      const key = `${source} ${target}`;
      const bond = sums.get(key) ?? { source, target, weight: 0 };
      bond.weight += model.weight[edge]!;
      sums.set(key, bond);
    }
  return [...sums.values()].sort((a, b) => Math.abs(b.weight) - Math.abs(a.weight));
}

/** A place for every unit, 0 to 1: the user's, or by mean position and layer, moved apart. */
export function placesOf(model: GraphModel, units: readonly Unit[], state: ViewState): [number, number][] {
  const mean = (rows: readonly number[], name: "pos" | "layer", other: number) =>
    rows.reduce((sum, row) => sum + (model.number(name, row) ?? other), 0) / rows.length;
  const lastPos = Math.max(1, model.strings.tokens.length - 1);
  const layers = Math.max(1, model.strings.n_layers);
  const level = (row: number) => ({ token: -1, logit: layers })[model.kindOf(row) as string] ?? 0;
  const raw = units.map((unit): [number, number] => {
    const first = unit.rows[0] ?? 0;
    const layer = mean(unit.rows, "layer", level(first));
    return [mean(unit.rows, "pos", lastPos) / lastPos, 1 - (layer + 1) / (layers + 1)];
  });
  const ranks = rankRows(raw.map(([, y]) => y));
  const rowsUsed = Math.max(...ranks, 0) + 1;
  const made: [number, number][] = raw.map(([x], i) => [
    x,
    rowsUsed === 1 ? 0.5 : (ranks[i]! + 0.5) / rowsUsed,
  ]);
  for (let rank = 0; rank < rowsUsed; rank++) spread(made.filter((_, i) => ranks[i] === rank));
  return units.map((unit, i) => state.positions[unit.key] ?? made[i]!);
}

/** Move places of one row apart, left to right, where they are nearer than an even spacing would put them. */
function spread(row: [number, number][]): void {
  row.sort((a, b) => a[0] - b[0]);
  const gap = Math.min(0.24, 1 / Math.max(1, row.length));
  row.forEach((at, i) => {
    const least = i ? row[i - 1]![0] + gap : 0;
    at[0] = Math.max(least, Math.min(at[0], 1 - gap * (row.length - 1 - i)));
  });
}

/** Equal or nearly equal heights share a row; rows are numbered from the top. */
function rankRows(heights: number[]): number[] {
  const order = heights.map((_, i) => i).sort((a, b) => heights[a]! - heights[b]!);
  const ranks = new Array<number>(heights.length).fill(0);
  let [rank, start] = [0, heights[order[0] ?? 0] ?? 0];
  for (const i of order) {
    if (heights[i]! - start > 0.12) [rank, start] = [rank + 1, heights[i]!];
    ranks[i] = rank;
  }
  return ranks;
}

/** A name that no supernode or node has yet. */
export function freshName(model: GraphModel, state: ViewState, wanted: string): string {
  const taken = (name: string) => name in state.supernodes || model.rowOf.has(name);
  if (wanted && !taken(wanted)) return wanted;
  for (let i = wanted ? 2 : 1; ; i++) {
    const name = `${wanted || "group"} ${i}`;
    if (!taken(name)) return name;
  }
}

/** Put these nodes into one supernode; they leave the groups they were in, and emptied groups go. */
export function grouped(
  state: ViewState,
  ids: readonly string[],
  name: string,
): Pick<ViewState, "supernodes"> {
  const moving = new Set(ids);
  const rest = Object.entries(state.supernodes)
    .map(([key, members]) => [key, members.filter((id) => !moving.has(id))] as const)
    .filter(([key, members]) => members.length && key !== name);
  return { supernodes: { ...Object.fromEntries(rest), [name]: [...moving] } };
}

export function renamed(
  state: ViewState,
  from: string,
  to: string,
): Pick<ViewState, "supernodes" | "positions"> {
  const swap = <Value>(record: Record<string, Value>) =>
    Object.fromEntries(Object.entries(record).map(([key, value]) => [key === from ? to : key, value]));
  return { supernodes: swap(state.supernodes), positions: swap(state.positions) };
}

/** Dissolve a group; its nodes stay in the subgraph as pinned ones. */
export function ungrouped(
  state: ViewState,
  name: string,
): Pick<ViewState, "supernodes" | "positions" | "pinned"> {
  const { [name]: members = [], ...supernodes } = state.supernodes;
  const { [name]: _, ...positions } = state.positions;
  return { supernodes, positions, pinned: [...new Set([...state.pinned, ...members])] };
}
