// The page's two tables: which columns they have and how they filter.

import { KIND_NAMES, numberOf, placeOf } from "../graph/describe";
import type { GraphData, Kind } from "../shared/data";
import { bar, element } from "../shared/dom";
import { formatNumber, formatPercent, formatSigned } from "../shared/numbers";
import type { Choice, Column, TableSpec } from "../table/table";

const PAGE_SIZE = 20;

type Handlers = Pick<TableSpec, "onHover" | "onPick">;

export function nodeTable(graph: GraphData, handlers: Handlers): TableSpec {
  const { nodes } = graph;
  const most = largest(nodes.influence);
  const columns: (Column | null)[] = [
    {
      title: "Node",
      hint: "Its label, token or number; of a feature, layer and index",
      numeric: false,
      cell: (row) => nodes.name[row] ?? null,
      show: (row) => nameCell(graph, row),
    },
    {
      title: "Kind",
      hint: "feature, token, answer, error or constant",
      numeric: false,
      cell: (row) => KIND_NAMES[nodes.kind[row] ?? "constant"],
      show: (row) => KIND_NAMES[nodes.kind[row] ?? "constant"],
    },
    numberColumn("Layer", "The layer it belongs to, from 0", nodes.layer, (value) => String(value ?? "")),
    {
      ...numberColumn("Position", "The token it sits at, from 0", nodes.pos, String),
      numeric: false,
      show: (row) => placeCell(graph, row),
    },
    numberColumn("Activation", "How strongly the feature is on", nodes.activation, formatNumber),
    numberColumn("Pre-activation", "What its in-edges add up to", nodes.pre_activation, formatNumber),
    numberColumn("Probability", "The model's, of this answer", nodes.probability, formatPercent),
    {
      ...numberColumn("Influence", "How much of the answers runs through it", nodes.influence, formatNumber),
      show: (row) => barCell((nodes.influence[row] ?? 0) / most, formatNumber(nodes.influence[row] ?? null)),
    },
    textColumn("Supernode", "The group it belongs to", nodes.supernode),
  ];
  const kept = columns.filter((column) => column !== null && anyFilled(column, nodes.id.length)) as Column[];
  return {
    noun: "node",
    count: nodes.id.length,
    columns: kept,
    choices: [
      kindChoice(graph, "Kind", "All kinds", (row) => [nodes.kind[row] ?? "constant"]),
      layerChoice(graph, (row) => [nodes.layer[row] ?? null]),
    ],
    text: (row) => nodeText(graph, row),
    sort: { column: kept.findIndex((column) => column.title === "Influence"), descending: true },
    pageSize: PAGE_SIZE,
    ...handlers,
  };
}

export function edgeTable(graph: GraphData, handlers: Handlers): TableSpec {
  const { nodes, edges } = graph;
  const most = largest(edges.weight);
  const end = (title: string, hint: string, ends: number[]): Column => ({
    title,
    hint,
    numeric: false,
    cell: (row) => nodes.name[ends[row] ?? -1] ?? null,
    show: (row) => nameCell(graph, ends[row] ?? -1),
  });
  const place = (hint: string, ends: number[]): Column => ({
    title: "at",
    hint,
    numeric: false,
    cell: (row) => nodes.pos[ends[row] ?? -1] ?? null,
    show: (row) => placeCell(graph, ends[row] ?? -1),
  });
  const ends = (row: number) => [edges.source[row] ?? -1, edges.target[row] ?? -1];
  return {
    noun: "edge",
    count: edges.source.length,
    columns: [
      end("Source", "Where the edge comes from", edges.source),
      place("The source's token", edges.source),
      end("Target", "Where the edge leads", edges.target),
      place("The target's token", edges.target),
      {
        title: "Weight",
        hint: "Signed contribution to the target's pre-activation",
        numeric: true,
        cell: (row) => edges.weight[row] ?? null,
        show: (row) => barCell((edges.weight[row] ?? 0) / most, formatSigned(edges.weight[row] ?? null)),
      },
      {
        title: "Size",
        hint: "|weight|: sorts strong edges of either sign together",
        numeric: true,
        cell: (row) => Math.abs(edges.weight[row] ?? 0),
        show: (row) => formatNumber(Math.abs(edges.weight[row] ?? 0)),
      },
      numberColumn("Share", "Of all |weight| into the target", edges.share, formatPercent),
    ],
    choices: [
      kindChoice(graph, "Kind of either end", "All kinds", (row) =>
        ends(row).map((node) => nodes.kind[node] ?? "constant"),
      ),
      layerChoice(graph, (row) => ends(row).map((node) => nodes.layer[node] ?? null)),
      {
        title: "Sign of the weight",
        options: [
          { value: "", text: "Both signs" },
          { value: "+", text: "Positive" },
          { value: "-", text: "Negative" },
        ],
        accepts: (row, value) =>
          value === "-" ? (edges.weight[row] ?? 0) < 0 : (edges.weight[row] ?? 0) >= 0,
      },
    ],
    text: (row) =>
      ends(row)
        .map((node) => nodeText(graph, node))
        .join(" "),
    sort: { column: 5, descending: true },
    pageSize: PAGE_SIZE,
    ...handlers,
  };
}

/** What a filter's words are looked for in. */
export function nodeText(graph: GraphData, row: number): string {
  const { nodes } = graph;
  const parts = [
    nodes.name[row],
    numberOf(graph, row),
    nodes.id[row],
    nodes.supernode[row],
    placeOf(graph, row),
  ];
  return parts.filter(Boolean).join(" ");
}

function numberColumn(
  title: string,
  hint: string,
  values: (number | null)[],
  format: (value: number | null) => string,
): Column {
  return {
    title,
    hint,
    numeric: true,
    cell: (row) => values[row] ?? null,
    show: (row) => format(values[row] ?? null),
  };
}

function textColumn(title: string, hint: string, values: (string | null)[]): Column {
  return {
    title,
    hint,
    numeric: false,
    cell: (row) => values[row] ?? null,
    show: (row) => values[row] ?? "",
  };
}

function anyFilled(column: Column, count: number): boolean {
  for (let row = 0; row < count; row++) if (column.cell(row) !== null) return true;
  return false;
}

function largest(values: readonly (number | null)[]): number {
  return values.reduce((most: number, value) => Math.max(most, Math.abs(value ?? 0)), 0) || 1;
}

function nameCell(graph: GraphData, row: number): HTMLElement {
  const name = graph.nodes.name[row] ?? "";
  const number = numberOf(graph, row);
  const small = number === "" || number === name ? [] : [" ", element("small", {}, number)];
  const title = `${name} (${graph.nodes.id[row] ?? ""})`;
  return element("span", { class: "name", title }, name, ...small);
}

function placeCell(graph: GraphData, row: number): HTMLElement {
  const pos = graph.nodes.pos[row] ?? null;
  const number = element("span", { class: "pos" }, pos === null ? "" : String(pos));
  return element("span", { class: "place" }, number, pos === null ? "" : (graph.tokens[pos] ?? ""));
}

function barCell(share: number, text: string): HTMLElement {
  return element("span", { class: "barred" }, bar(share), text);
}

function kindChoice(graph: GraphData, title: string, all: string, kinds: (row: number) => Kind[]): Choice {
  const present = (Object.keys(KIND_NAMES) as Kind[]).filter((kind) => graph.nodes.kind.includes(kind));
  return {
    title,
    options: [{ value: "", text: all }, ...present.map((kind) => ({ value: kind, text: KIND_NAMES[kind] }))],
    accepts: (row, value) => kinds(row).includes(value as Kind),
  };
}

function layerChoice(graph: GraphData, layers: (row: number) => (number | null)[]): Choice {
  const present = [...new Set(graph.nodes.layer)].filter((layer) => layer !== null).sort((a, b) => a - b);
  return {
    title: "Layer",
    options: [
      { value: "", text: "All layers" },
      ...present.map((layer) => ({ value: String(layer), text: `Layer ${layer}` })),
    ],
    accepts: (row, value) => layers(row).includes(Number(value)),
  };
}
