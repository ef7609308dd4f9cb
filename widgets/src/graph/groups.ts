// The subgraph: pinned nodes and supernodes as units, and the edges between them, added up.

import type { Box } from "./arrange";
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

/** A unit as a box of this size in pixels, by layer and token; groups of answers and tokens count as those. */
export function boxOf(model: GraphModel, unit: Unit, wide: number, high: number): Box {
  const mean = (name: "pos" | "layer", other: number) =>
    unit.rows.reduce((sum, row) => sum + (model.number(name, row) ?? other), 0) / unit.rows.length;
  const all = (kind: string) => unit.rows.every((row) => model.kindOf(row) === kind);
  const column = mean("pos", model.strings.tokens.length - 1);
  const level = all("token")
    ? -2
    : all("logit")
      ? Number.POSITIVE_INFINITY
      : mean("layer", model.strings.n_layers);
  return { wide, high, level, column };
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
