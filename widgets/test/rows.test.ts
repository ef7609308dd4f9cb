import { describe, expect, it } from "vitest";
import { filterRows, matches, pageAt, sortRows } from "../src/table/rows";

describe("sortRows", () => {
  const values: (number | string | null)[] = [3, null, -1, 3, 10];
  const cell = (row: number) => values[row] ?? null;

  it("orders numbers by value, not by their digits", () => {
    expect(sortRows([0, 2, 4], cell, false)).toEqual([2, 0, 4]);
  });
  it("keeps missing cells last in both directions", () => {
    expect(sortRows([0, 1, 2], cell, false).at(-1)).toBe(1);
    expect(sortRows([0, 1, 2], cell, true).at(-1)).toBe(1);
  });
  it("keeps the order of equal cells in both directions", () => {
    expect(sortRows([0, 3], cell, false)).toEqual([0, 3]);
    expect(sortRows([0, 3], cell, true)).toEqual([0, 3]);
  });
  it("orders names by the numbers in them", () => {
    const names = ["L10/3", "L2/30", "L2/4"];
    expect(sortRows([0, 1, 2], (row) => names[row] ?? null, false)).toEqual([2, 1, 0]);
  });
  it("leaves what it was given alone", () => {
    const rows = [4, 2];
    sortRows(rows, cell, false);
    expect(rows).toEqual([4, 2]);
  });
});

describe("matches", () => {
  it("wants every word, in any order and case", () => {
    expect(matches("L3/55 6 Dallas", "dallas l3")).toBe(true);
    expect(matches("L3/55 6 Dallas", "dallas l4")).toBe(false);
  });
  it("takes an empty query and stray spaces as no condition", () => {
    expect(matches("anything", "")).toBe(true);
    expect(matches("anything", "  any ")).toBe(true);
  });
  it("takes the query as text, not as a pattern", () => {
    expect(matches("a.c", ".*")).toBe(false);
    expect(matches("(", "(")).toBe(true);
  });
});

describe("filterRows", () => {
  it("joins the text with every condition", () => {
    const text = (row: number) => ["red", "green", "reddish", "red"][row] ?? "";
    expect(filterRows(4, text, "red", [(row) => row > 0, (row) => row < 3])).toEqual([2]);
  });
});

describe("pageAt", () => {
  it("cuts rows into pages", () => {
    expect(pageAt(1, 45, 20)).toEqual({ number: 1, count: 3, start: 20, end: 40 });
    expect(pageAt(2, 45, 20)).toMatchObject({ start: 40, end: 45 });
  });
  it("stays within the pages there are", () => {
    expect(pageAt(9, 45, 20).number).toBe(2);
    expect(pageAt(-1, 45, 20).number).toBe(0);
    expect(pageAt(0, 0, 20)).toEqual({ number: 0, count: 1, start: 0, end: 0 });
  });
});
