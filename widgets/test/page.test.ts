import { describe, expect, it, vi } from "vitest";
import { factsOf, placeOf } from "../src/graph/describe";
import { Selection } from "../src/page/selection";
import { edgeTable, nodeTable, nodeText } from "../src/page/tables";
import { example } from "./example";

const quiet = { onHover: () => undefined, onPick: () => undefined };

describe("node table", () => {
  it("has no column in which every cell is missing", () => {
    const titles = nodeTable(example(), quiet).columns.map((column) => column.title);
    expect(titles).toContain("Influence");
    expect(titles).not.toContain("Pre-activation");
  });
  it("is found by name, id, supernode and token", () => {
    expect(nodeText(example(), 2)).toBe("Texas L0/7 0_7_1 place 1 las");
  });
  it("offers the kinds and layers that occur", () => {
    const [kinds, layers] = nodeTable(example(), quiet).choices;
    expect(kinds?.options.map((option) => option.value)).toEqual(["", "feature", "token", "logit"]);
    expect(layers?.options.map((option) => option.text)).toEqual(["All layers", "Layer 0"]);
  });
});

describe("edge table", () => {
  it("filters by either end and by sign", () => {
    const [kind, layer, sign] = edgeTable(example(), quiet).choices;
    expect([0, 1, 2, 3].filter((row) => kind?.accepts(row, "logit"))).toEqual([0, 3]);
    expect([0, 1, 2, 3].filter((row) => layer?.accepts(row, "0"))).toEqual([0, 1, 2]);
    expect([0, 1, 2, 3].filter((row) => sign?.accepts(row, "-"))).toEqual([2]);
  });
});

describe("descriptions", () => {
  it("leave out what does not apply", () => {
    expect(factsOf(example(), 3).map(([term]) => term)).toEqual(["kind", "position", "probability", "id"]);
  });
  it("name the token of a position", () => {
    expect(placeOf(example(), 1)).toBe("1 las");
  });
});

describe("selection", () => {
  it("shows what is pointed at, else what is pinned", () => {
    const selection = new Selection();
    selection.pin(2);
    expect(selection.focus).toEqual({ of: "node", node: 2 });
    selection.point({ of: "edge", edge: 1 });
    expect(selection.focus).toEqual({ of: "edge", edge: 1 });
    selection.point(null);
    expect(selection.focus).toEqual({ of: "node", node: 2 });
  });
  it("lets go of a node that is pinned again", () => {
    const selection = new Selection();
    selection.pin(2);
    selection.pin(2);
    expect(selection.focus).toBeNull();
  });
  it("tells its listeners", () => {
    const selection = new Selection();
    const listener = vi.fn();
    selection.listen(listener);
    selection.pin(1);
    selection.point(null);
    expect(listener).toHaveBeenCalledTimes(2);
  });
});
