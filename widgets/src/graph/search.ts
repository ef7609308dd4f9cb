// Finding nodes by what one types: words, or token:Dallas, layer:3, pos:4, feature:55, kind:error, group:state, L3/55.

import type { GraphModel } from "./model";

export interface Query {
  words: string[];
  fields: [string, string][];
}

const FIELDS = ["label", "token", "layer", "pos", "feature", "kind", "group", "id"];

export function parseQuery(text: string): Query {
  const query: Query = { words: [], fields: [] };
  for (const [, name, quoted, bare] of text.matchAll(/(?:(\w+):)?(?:"([^"]*)"|(\S+))/gu)) {
    const value = (quoted ?? bare ?? "").toLowerCase();
    const field = name?.toLowerCase();
    if (field && FIELDS.includes(field)) query.fields.push([field, value]);
    else query.words.push(field ? `${field}:${value}` : value);
  }
  return query;
}

/** Rows that match everything in the query; none for an empty one. */
export function find(
  model: GraphModel,
  text: string,
  nameOf: (row: number) => string,
  groupOf: (row: number) => string,
): number[] {
  const { words, fields } = parseQuery(text);
  if (!words.length && !fields.length) return [];
  const { tokens, id } = model.strings;
  const found: number[] = [];
  for (let row = 0; row < model.count; row++) {
    const pos = model.number("pos", row);
    const token = (pos === null ? "" : (tokens[pos] ?? "")).toLowerCase();
    const number = `l${model.number("layer", row)}/${model.number("feature", row)}`;
    const name = nameOf(row).toLowerCase();
    const group = groupOf(row).toLowerCase();
    const matches = (field: string, value: string): boolean => {
      if (field === "label") return name.includes(value);
      if (field === "token") return token.includes(value);
      if (field === "group") return group !== "" && group.includes(value);
      if (field === "kind") return model.kindOf(row).startsWith(value);
      if (field === "id") return (id[row] ?? "").toLowerCase() === value;
      return String(model.number(field as "layer" | "pos" | "feature", row)) === value;
    };
    const all =
      fields.every(([field, value]) => matches(field, value)) &&
      words.every((word) =>
        [name, token, number, group, (id[row] ?? "").toLowerCase()].some((t) => t.includes(word)),
      );
    if (all) found.push(row);
  }
  return found;
}
