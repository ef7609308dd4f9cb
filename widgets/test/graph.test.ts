import { describe, expect, it } from "vitest";
import { countsOf } from "../src/graph/around";
import { arranged } from "../src/graph/arrange";
import { portsOf } from "../src/graph/bonds";
import { EdgeSet } from "../src/graph/edges";
import { bondsOf, freshName, grouped, renamed, ungrouped, unitsOf } from "../src/graph/groups";
import { strongest } from "../src/graph/model";
import { curvesOf, Finder } from "../src/graph/place";
import { shownBy } from "../src/graph/prune";
import { pathThrough } from "../src/graph/routes";
import { find, parseQuery } from "../src/graph/search";
import { Store } from "../src/graph/state";
import { fromSlider, toSlider } from "../src/graph/toolbar";
import { shownText } from "../src/shared/dom";
import { exampleModel, examplePlace, fixture, state } from "./graph";

const model = exampleModel();
const all = shownBy(model, { node_threshold: 1, edge_threshold: 1, density_threshold: 1 });
const numeral = (text = "") => Number(text.replaceAll(",", ""));
const ids = (rows: Iterable<number>) => [...rows].map((row) => model.strings.id[row]);

describe("thresholds", () => {
  for (const { nodes, edges, kept } of fixture.kept)
    it(`keep what graph.prune(${nodes}, ${edges}) keeps`, () => {
      const shown = shownBy(model, { node_threshold: nodes, edge_threshold: edges, density_threshold: 1 });
      const rows = [...Array(model.count).keys()].filter((row) => shown.nodes[row]);
      expect(ids(rows)).toEqual(kept.nodes);
      const inner = [...shown.edges.keys()].filter(
        (edge) => shown.edges[edge] && model.kindOf(model.source[edge]!) !== "constant",
      );
      expect(inner.length).toBe(kept.edges);
    });
  it("count what they hide", () => {
    const shown = shownBy(model, { node_threshold: 0.5, edge_threshold: 0.9, density_threshold: 1 });
    const left = shown.nodes.reduce((sum, kept) => sum + kept, 0);
    expect(left + shown.weakNodes + shown.looseNodes + shown.denseNodes).toBe(model.count);
    expect(shown.weakNodes).toBeGreaterThan(0);
  });
  it("say that the features are neurons where there is no transcoder", () => {
    const shown = shownBy(model, { node_threshold: 1, edge_threshold: 1, density_threshold: 1 });
    expect(countsOf(model, shown)[0]).not.toContain("neurons");
    const neurons = Object.assign(Object.create(model), { strings: { ...model.strings, neurons: true } });
    expect(countsOf(neurons, shown)[0]).toContain("MLP neurons, no transcoder");
  });
  it("say of every edge that is not shown why", () => {
    for (const density_threshold of [1, 0.01]) {
      const shown = shownBy(model, { node_threshold: 0.5, edge_threshold: 0.9, density_threshold });
      const [bold, hidden] = countsOf(model, shown);
      const [, kept, all] = /([\d,]+) of ([\d,]+) edges/.exec(bold) ?? [];
      const told = [...hidden.matchAll(/([\d,]+) (?:edges below|of hidden nodes|weakest not sent)/g)].map(
        ([, count]) => numeral(count),
      );
      expect(hidden).toContain("of hidden nodes");
      expect(numeral(kept) + told.reduce((sum, count) => sum + count, 0)).toBe(numeral(all));
    }
  });
});

describe("sliders", () => {
  it("come back to where they were put", () => {
    for (const name of ["node_threshold", "density_threshold"] as const)
      for (const at of [0, 0.2, 0.5, 0.8, 1]) expect(toSlider(name, fromSlider(name, at))).toBeCloseTo(at, 1);
  });
  it("are fine where most of the choice lies", () => {
    expect(fromSlider("node_threshold", 0.5)).toBe(0.75);
    expect(fromSlider("density_threshold", 0.2)).toBe(0.008);
  });
});

describe("edges to draw", () => {
  it("are crisp or haze, the strongest crisp, each once", () => {
    const set = new EdgeSet(model, examplePlace(model), all, 5);
    const shown = [...all.edges.keys()].filter(
      (edge) => all.edges[edge] && model.kindOf(model.source[edge]!) !== "constant",
    );
    expect([...set.crisp, ...set.haze].sort((a, b) => a - b)).toEqual(shown);
    expect(set.crisp.length).toBe(5);
    const least = Math.min(...[...set.crisp].map((edge) => all.score[edge]!));
    for (const edge of set.haze) expect(all.score[edge]!).toBeLessThanOrEqual(least);
    expect(new EdgeSet(model, examplePlace(model), all).haze.length).toBe(0);
  });
});

describe("model", () => {
  it("gives a node's inputs and outputs", () => {
    const row = model.count - 1;
    for (const edge of model.inputs(row)) expect(model.target[edge]).toBe(row);
    const first = model.source[0]!;
    expect([...model.outputs(first)]).toEqual(
      [...model.source.keys()].filter((edge) => model.source[edge] === first),
    );
  });
  it("ranks by size, whatever the sign", () => {
    const sizes = strongest(model, model.inputs(model.count - 1)).map((edge) =>
      Math.abs(model.weight[edge]!),
    );
    expect(sizes).toEqual([...sizes].sort((a, b) => b - a));
  });
});

describe("places", () => {
  const place = examplePlace(model);
  const rows = [...Array(model.count).keys()].filter((row) => model.kindOf(row) !== "constant");
  it("are found again under the pointer", () => {
    const finder = new Finder(place, rows);
    for (const row of rows) expect(finder.at(place.x[row]! + 1, place.y[row]!, 5)).toBe(row);
    expect(finder.at(-500, -500, 5)).toBeNull();
  });
  it("join by curves from the top of the source to the foot of the target", () => {
    const edge = model.edgeCount - 1;
    const [sx, sy, , , , , tx, ty] = curvesOf(model, place, [edge]);
    const [source, target] = [model.source[edge]!, model.target[edge]!];
    expect([sx, tx]).toEqual([place.x[source], place.x[target]]);
    expect(sy).toBeCloseTo(place.y[source]! - place.high[source]! / 2, 3);
    expect(ty).toBeCloseTo(place.y[target]! + place.high[target]! / 2, 3);
  });
});

describe("paths", () => {
  it("run from a token through the node to an answer, edge by edge", () => {
    const row = model.strings.id.findIndex((_, at) => model.kindOf(at) === "feature");
    const { nodes, edges } = pathThrough(model, all, row);
    expect(nodes).toContain(row);
    expect([model.kindOf(nodes[0]!), model.kindOf(nodes.at(-1)!)]).toEqual(["token", "logit"]);
    expect(edges.map((edge) => [model.source[edge], model.target[edge]])).toEqual(
      edges.map((_, at) => [nodes[at], nodes[at + 1]]),
    );
  });
});

describe("search", () => {
  const name = (row: number) => (row === 12 ? "Say a Capital" : (model.strings.name[row] ?? ""));
  const search = (text: string) => find(model, text, name, (row) => (row === 5 ? "my group" : ""));
  it("reads fields and quoted words", () => {
    expect(parseQuery('layer:3 "two words" token:"new york"')).toEqual({
      words: ["two words"],
      fields: [
        ["layer", "3"],
        ["token", "new york"],
      ],
    });
  });
  it("finds by label, layer, kind, group and nothing", () => {
    expect(search("say capital")).toEqual([12]);
    expect(search("layer:2 kind:feature").map((row) => model.number("layer", row))).toEqual(
      Array(12).fill(2),
    );
    expect(search("group:my")).toEqual([5]);
    expect(search("")).toEqual([]);
    expect(search("nowhere:3")).toEqual([]);
  });
});

describe("groups", () => {
  const [a, b, c] = ["0_0_0", "0_1_0", "3_2_3"];
  const row = (id: string) => model.rowOf.get(id)!;
  it("add up the edges between them", () => {
    const view = state({ supernodes: { one: [a, b] }, pinned: [c] });
    const units = unitsOf(model, view);
    expect(units.map((unit) => unit.key)).toEqual(["one", c]);
    const direct = [...model.inputs(row(c))].filter((edge) => [row(a), row(b)].includes(model.source[edge]!));
    const sum = direct.reduce((total, edge) => total + model.weight[edge]!, 0);
    expect(bondsOf(model, units)[0]?.weight ?? 0).toBeCloseTo(sum, 5);
    expect(direct.length).toBeGreaterThan(0);
  });
  it("take a node from the group it was in, and leave no empty one", () => {
    const view = state({ supernodes: { one: [a], two: [b] } });
    expect(grouped(view, [a, c], "three").supernodes).toEqual({ two: [b], three: [a, c] });
  });
  it("keep their place under a new name, and pin their nodes when they go", () => {
    const view = state({ supernodes: { one: [a] }, positions: { one: [0.1, 0.2] } });
    expect(renamed(view, "one", "two")).toEqual({ supernodes: { two: [a] }, positions: { two: [0.1, 0.2] } });
    expect(ungrouped(view, "one")).toEqual({ supernodes: {}, positions: {}, pinned: [a] });
  });
  it("get names that nothing else has", () => {
    expect(freshName(model, state({ supernodes: { "group 1": [a] } }), "")).toBe("group 2");
    expect(freshName(model, state(), a)).toBe(`${a} 2`);
  });
});

describe("the subgraph by itself", () => {
  const box = (level: number, column: number, wide = 90) => ({ wide, high: 28, level, column });
  const [token, answer] = [-2, Number.POSITIVE_INFINITY];
  const boxes = [
    box(answer, 11),
    box(3, 11),
    box(3, 11),
    box(1, 10),
    box(0.5, 4),
    box(token, 4),
    box(token, 10),
    box(token, 10),
  ];
  const ties = [
    { source: 5, target: 4, weight: 12 },
    { source: 4, target: 1, weight: 5 },
    { source: 1, target: 0, weight: 2 },
    { source: 3, target: 0, weight: 2 },
    { source: 6, target: 3, weight: -2 },
  ];
  it("puts answers on top, tokens at the foot in their order, groups between by layer", () => {
    const { at } = arranged(boxes, ties, 600);
    const y = (i: number) => at[i]![1];
    expect([y(0) < y(1), y(1) === y(2), y(2) < y(3), y(3) < y(5), y(5) === y(6)]).toEqual(
      Array(5).fill(true),
    );
    expect(at[5]![0]).toBeLessThan(at[6]![0]);
    expect(Math.min(...rowGaps(at))).toBeGreaterThanOrEqual(26);
  });
  it("lets no box touch another or the sides, also where a row is full", () => {
    const many = Array.from({ length: 25 }, (_, i) => box(i % 2 ? token : 2, i % 7, 60 + 5 * i));
    for (const wide of [320, 600, 1400])
      for (const set of [boxes, many]) {
        const { at, high } = arranged(set, set === boxes ? ties : [], wide);
        set.forEach((one, i) => {
          expect(Math.abs(at[i]![0] - wide / 2) + one.wide / 2).toBeLessThanOrEqual(wide / 2 + 1e-6);
          expect(at[i]![1] + 14).toBeLessThanOrEqual(high);
          for (let j = 0; j < i; j++) {
            const apart = Math.abs(at[i]![0] - at[j]![0]) - (one.wide + set[j]!.wide) / 2;
            expect(at[i]![1] === at[j]![1] ? apart : 20).toBeGreaterThan(19.99);
          }
        });
      }
  });
  it("moves a box aside where an edge would run behind it", () => {
    const stacked = [box(answer, 0), box(1, 0), box(token, 0)];
    const { at } = arranged(stacked, [{ source: 2, target: 0, weight: 1 }], 600);
    expect(Math.abs(at[1]![0] - at[0]![0])).toBeGreaterThan(45);
  });
  it("brings boxes that feed each other into different rows", () => {
    const { at } = arranged([box(2, 0), box(2.3, 1)], [{ source: 0, target: 1, weight: 1 }], 600);
    expect(at[1]![1]).toBeLessThan(at[0]![1]);
  });
  it("leads edges to a box side by side, in the order they come from", () => {
    const spots = [100, 300, 200].map((x, i) => ({ x, y: i < 2 ? 200 : 50, wide: 80, high: 28, title: "" }));
    const bonds = [1, 0].map((source) => ({ source, target: 2, weight: 1 }));
    const [right, left] = portsOf(spots, bonds).map(([, to]) => to) as [[number, number], [number, number]];
    expect([left[0] < right[0], left[1], right[1]]).toEqual([true, 66, 66]);
  });
  function rowGaps(at: [number, number][]): number[] {
    const rows = [...new Set(at.map(([, y]) => y))].sort((a, b) => a - b);
    return rows.slice(1).map((y, i) => y - rows[i]! - 28);
  }
});

describe("undo", () => {
  it("goes back and forth, and forgets the future on a new change", () => {
    const store = new Store(state(), () => 0);
    store.change({ pinned: ["a"] });
    store.change({ labels: { a: "b" } });
    expect(store.undo()).toEqual({ labels: {} });
    expect(store.redo()).toEqual({ labels: { a: "b" } });
    store.undo();
    store.change({ link_mode: "inputs" });
    expect(store.canRedo).toBe(false);
  });
  it("takes a dragged slider as one step, and a click as none", () => {
    let now = 0;
    const store = new Store(state(), () => {
      now += 100;
      return now;
    });
    for (const share of [0.7, 0.6, 0.5]) store.change({ node_threshold: share });
    store.change({ clicked: "a" });
    expect(store.undo()).toEqual({ node_threshold: 0.8 });
    expect(store.canUndo).toBe(false);
  });
  it("knows the kernel's undo when it comes", () => {
    const store = new Store(state(), () => 0);
    store.change({ pinned: ["a"] });
    store.change({ pinned: [] });
    expect([store.canUndo, store.canRedo]).toEqual([false, true]);
  });
});

describe("strangers' text", () => {
  it("loses control and direction characters, and its excess", () => {
    expect(shownText("a\u202eb\nc")).toBe("a·b⏎c");
    expect(shownText("x".repeat(1_000_000)).length).toBeLessThan(500);
  });
});
