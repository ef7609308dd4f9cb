// Which rows of a table are shown, and in which order. Rows are numbers; nothing here touches the document.

export type Cell = number | string | null;

const collator = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

/** Rows by their cell, missing ones last in either direction; equal cells keep their order. */
export function sortRows(
  rows: readonly number[],
  cell: (row: number) => Cell,
  descending: boolean,
): number[] {
  const keyed = rows.map((row) => ({ row, value: cell(row) }));
  keyed.sort((a, b) => {
    if (a.value === null || b.value === null) return Number(a.value === null) - Number(b.value === null);
    const order = compareCells(a.value, b.value);
    return descending ? -order : order;
  });
  return keyed.map((entry) => entry.row);
}

function compareCells(a: number | string, b: number | string): number {
  if (typeof a === "number" && typeof b === "number") return a - b;
  return collator.compare(String(a), String(b));
}

/** Every word of the query occurs somewhere in the text, whatever the case. An empty query matches all. */
export function matches(text: string, query: string): boolean {
  const folded = text.toLowerCase();
  return query
    .toLowerCase()
    .split(/\s+/)
    .every((word) => folded.includes(word));
}

/** Rows whose text matches the query and which every condition accepts. */
export function filterRows(
  count: number,
  text: (row: number) => string,
  query: string,
  conditions: readonly ((row: number) => boolean)[],
): number[] {
  const kept: number[] = [];
  for (let row = 0; row < count; row++) {
    if (conditions.every((accepts) => accepts(row)) && matches(text(row), query)) kept.push(row);
  }
  return kept;
}

export interface Page {
  number: number;
  count: number;
  start: number;
  end: number;
}

/** The page nearest to the one asked for: `start` inclusive and `end` exclusive, of `total` rows. */
export function pageAt(asked: number, total: number, size: number): Page {
  const count = Math.max(1, Math.ceil(total / size));
  const number = Math.min(Math.max(0, asked), count - 1);
  return { number, count, start: number * size, end: Math.min(total, (number + 1) * size) };
}
