// The page of one traced graph. Its figure, paths and header stand in the document already; this adds the
// tables and what happens when one points, clicks or types.

import { mount } from "../graph/component";
import { adjacency, light } from "../graph/highlight";
import { GraphModel, type Strings } from "../graph/model";
import { readPlace } from "../graph/place";
import type { ViewState } from "../graph/state";
import { readGraph } from "../shared/data";
import { byId } from "../shared/dom";
import { floats, ints } from "../shared/host";
import { TableView } from "../table/table";
import { Details } from "./details";
import { Figure } from "./figure";
import "./page.css";
import { Selection } from "./selection";
import { edgeTable, nodeTable } from "./tables";
import { wireTheme } from "./theme";

/** The interactive graph's data: bytes in base64, as circuitlab/widgets/columns.py writes them. */
interface WidgetData {
  strings: string;
  nodes: string;
  edges: string;
  placed: string;
  placed_strings: string;
  state: ViewState;
}

function showWidget(data: WidgetData): void {
  const bytes = (text: string) => new DataView(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
  const model = new GraphModel(
    JSON.parse(data.strings) as Strings,
    floats(bytes(data.nodes)),
    ints(bytes(data.edges)),
  );
  const place = readPlace(model.count, floats(bytes(data.placed)), data.placed_strings);
  mount(
    byId("graph-widget"),
    model,
    { height: 690, state: data.state, place },
    {},
    new AbortController().signal,
  );
}

function start(): void {
  wireTheme(byId("theme") as HTMLButtonElement);
  const text = byId("graph-data").textContent ?? "";
  const graph = readGraph(text);
  showWidget((JSON.parse(text) as { widget: WidgetData }).widget);
  const near = adjacency(graph.edges, graph.nodes.id.length);
  const selection = new Selection();
  const svg = document.querySelector<SVGSVGElement>("svg.figure");
  const figure = svg ? new Figure(svg, graph, selection) : null;
  const details = new Details(byId("details"), graph, near, selection);
  const nodes = new TableView(
    byId("node-table"),
    nodeTable(graph, {
      onHover: (row) => selection.point(row === null ? null : { of: "node", node: row }),
      onPick: (row) => selection.pin(row),
    }),
  );
  const edges = new TableView(
    byId("edge-table"),
    edgeTable(graph, {
      onHover: (row) => selection.point(row === null ? null : { of: "edge", edge: row }),
      onPick: (row) => selection.pin(graph.edges.target[row] ?? null),
    }),
  );
  wirePaths(selection);
  let revealed: number | null = null;
  selection.listen(() => {
    const lit = light(selection.focus, graph.edges, near);
    figure?.show(lit, selection.pinned);
    nodes.mark(lit.centre);
    edges.mark(lit.edges);
    details.show(selection.pinned);
    if (selection.pinned !== revealed && selection.pinned !== null) nodes.reveal(selection.pinned);
    revealed = selection.pinned;
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && selection.pinned !== null) selection.pin(null);
  });
}

function wirePaths(selection: Selection): void {
  for (const item of document.querySelectorAll<HTMLElement>("[data-path], [data-group]")) {
    const { path, group } = item.dataset;
    const nodes = (path ?? group ?? "").split(" ").filter(Boolean).map(Number);
    const point = () => selection.point({ of: path === undefined ? "group" : "path", nodes });
    const leave = () => selection.point(null);
    item.addEventListener("pointerenter", point);
    item.addEventListener("pointerleave", leave);
    item.addEventListener("focus", point);
    item.addEventListener("blur", leave);
  }
}

start();
