// The pinned node in full: what is known of it, its strongest inputs and its strongest outputs.

import { factsOf, placeOf } from "../graph/describe";
import type { Adjacency } from "../graph/highlight";
import type { GraphData } from "../shared/data";
import { bar, element } from "../shared/dom";
import { formatSigned } from "../shared/numbers";
import type { Selection } from "./selection";

const LONGEST = 10;

export class Details {
  private readonly hint: string;
  private shown: number | null = null;

  constructor(
    private readonly host: HTMLElement,
    private readonly graph: GraphData,
    private readonly near: Adjacency,
    private readonly selection: Selection,
  ) {
    this.hint = host.textContent ?? "";
  }

  show(pinned: number | null): void {
    if (pinned === this.shown) return;
    this.shown = pinned;
    if (pinned === null) {
      this.host.replaceChildren(element("p", { class: "hint" }, this.hint.trim()));
      return;
    }
    const facts = factsOf(this.graph, pinned).map(([term, value]) =>
      element("div", {}, element("dt", {}, term), element("dd", {}, value)),
    );
    const close = element("button", { type: "button", class: "close", "aria-label": "Let go" }, "×");
    close.addEventListener("click", () => this.selection.pin(null));
    this.host.replaceChildren(
      element("header", {}, element("h3", {}, this.graph.nodes.name[pinned] ?? ""), close),
      element("dl", { class: "facts" }, ...facts),
      this.list("Strongest inputs", this.near.inputs[pinned] ?? [], this.graph.edges.source),
      this.list("Strongest outputs", this.near.outputs[pinned] ?? [], this.graph.edges.target),
    );
  }

  private list(title: string, edges: readonly number[], ends: readonly number[]): HTMLElement {
    const { weight } = this.graph.edges;
    const largest = Math.abs(weight[edges[0] ?? -1] ?? 1) || 1;
    const items = edges.slice(0, LONGEST).map((edge) => {
      const other = ends[edge] ?? 0;
      const value = weight[edge] ?? 0;
      const button = element(
        "button",
        { type: "button" },
        element("span", { class: "name" }, this.graph.nodes.name[other] ?? ""),
        element("span", { class: "place" }, placeOf(this.graph, other)),
        bar(value / largest),
        element("span", { class: "weight" }, formatSigned(value)),
      );
      button.addEventListener("pointerenter", () => this.selection.point({ of: "edge", edge }));
      button.addEventListener("pointerleave", () => this.selection.point(null));
      button.addEventListener("focus", () => this.selection.point({ of: "edge", edge }));
      button.addEventListener("blur", () => this.selection.point(null));
      button.addEventListener("click", () => {
        this.selection.point(null);
        this.selection.pin(other);
      });
      return element("li", {}, button);
    });
    const rest = edges.length > LONGEST ? ` (${LONGEST} of ${edges.length})` : "";
    const list = items.length ? element("ol", {}, ...items) : element("p", { class: "hint" }, "none listed");
    return element("section", {}, element("h4", {}, title + rest), list);
  }
}
