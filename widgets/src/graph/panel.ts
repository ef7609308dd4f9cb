// The side panel: the clicked node in full, its inputs and outputs ranked by sign, the strongest path through it.

import { bar, element } from "../shared/dom";
import { labelField } from "../shared/labels";
import { formatNumber, formatPercent, formatSigned } from "../shared/numbers";
import { icon } from "../shared/svg";
import { KIND_NAMES } from "./describe";
import type { GraphModel } from "./model";
import { strongest } from "./model";

export interface PanelEvents {
  name(row: number): string;
  isPinned(row: number): boolean;
  isShown(row: number): boolean;
  groupOf(row: number): string;
  onGo(row: number): void;
  onPointAtEdge(edge: number | null): void;
  onPointAtPath(on: boolean): void;
  onPin(row: number): void;
  onLabel(row: number, text: string): void;
  pathOf(row: number): number[];
}

const LONGEST = 12;
const PENCIL = "M10.5 3l2.5 2.5L6 12.5l-3 .5.5-3z";
export const PIN = "M6 2h4l-.5 4.5L12 9H4l2.5-2.5zM8 9v5";

export class Panel {
  readonly box = element("aside", { class: "panel", "aria-label": "The clicked node" });
  private readonly full = new Set<string>();
  private editing: { row: number; abandon: () => void } | null = null;

  constructor(
    private readonly model: GraphModel,
    private readonly events: PanelEvents,
  ) {}

  show(row: number | null): void {
    if (this.editing?.row === row) return;
    this.editing?.abandon();
    this.box.classList.toggle("resting", row === null);
    if (row === null) {
      this.box.replaceChildren(...hints());
      return;
    }
    this.box.replaceChildren(
      this.heading(row),
      this.facts(row),
      ...this.path(row),
      element(
        "div",
        { class: "sides" },
        this.side(
          row,
          "Inputs",
          [...this.model.inputs(row)],
          this.model.source,
          this.model.nodes.into[row] ?? 0,
        ),
        this.side(
          row,
          "Outputs",
          [...this.model.outputs(row)],
          this.model.target,
          this.model.nodes.out_of[row] ?? 0,
        ),
      ),
    );
    this.box.scrollTop = 0;
  }

  /** Edit the shown node's label in place. */
  private edit(row: number, heading: HTMLElement): void {
    const field = labelField(this.events.name(row), (label) => {
      this.editing = null;
      if (label === null) this.show(row);
      else this.events.onLabel(row, label);
    });
    const abandon = () => {
      field.abandon();
      this.editing = null;
    };
    this.editing = { row, abandon };
    heading.replaceChildren(field.input);
    field.input.focus();
    field.input.select();
  }

  private heading(row: number): HTMLElement {
    const title = element("h3", { title: "Double-click to edit" }, this.events.name(row));
    const head = element("header", {}, title);
    const edit = element(
      "button",
      { type: "button", class: "icon quiet", title: "Edit the label" },
      icon(PENCIL),
    );
    edit.setAttribute("aria-label", "Edit the label");
    edit.addEventListener("click", () => this.edit(row, head));
    title.addEventListener("dblclick", () => this.edit(row, head));
    const pinned = this.events.isPinned(row);
    const pin = element(
      "button",
      { type: "button", class: "pin", "aria-pressed": String(pinned) },
      icon(PIN),
    );
    pin.append(pinned ? "Pinned" : "Pin");
    pin.addEventListener("click", () => this.events.onPin(row));
    head.append(edit, pin);
    return head;
  }

  private facts(row: number): HTMLElement {
    const { model } = this;
    const kind = model.kindOf(row);
    const [layer, pos, feature] = [
      model.number("layer", row),
      model.number("pos", row),
      model.number("feature", row),
    ];
    const facts: [string, string][] = [
      ["kind", kind === "feature" && model.strings.neurons ? "MLP neuron (no transcoder)" : KIND_NAMES[kind]],
      ["feature", kind === "feature" && feature !== null ? `L${layer}/${feature}` : ""],
      ["layer", kind === "error" && layer !== null ? String(layer) : ""],
      ["at", pos === null ? "" : `${pos} ${model.strings.tokens[pos] ?? ""}`],
      ["activation", formatNumber(model.number("activation", row))],
      ["pre-activation", formatNumber(model.number("pre_activation", row))],
      ["probability", formatPercent(model.number("probability", row))],
      ["influence", formatNumber(model.number("influence", row))],
      ["density", formatPercent(model.number("density", row))],
      ["group", this.events.groupOf(row)],
    ];
    const list = element(
      "dl",
      { class: "facts" },
      ...facts
        .filter(([, value]) => value !== "")
        .map(([term, value]) => element("div", {}, element("dt", {}, term), element("dd", {}, value))),
    );
    const page = model.strings.neuronpedia;
    if (page && kind === "feature" && layer !== null && feature !== null) {
      const href = page.replace("{layer}", String(layer)).replace("{feature}", String(feature));
      const link = element("a", { href, target: "_blank", rel: "noopener noreferrer" }, "Neuronpedia");
      list.append(element("div", {}, element("dt", {}, "page"), element("dd", {}, link)));
    }
    return list;
  }

  private path(row: number): HTMLElement[] {
    const nodes = this.events.pathOf(row);
    if (nodes.length < 2) return [];
    const chain = element("p", { class: "chain", tabindex: "0" });
    nodes.forEach((node, at) => {
      if (at) chain.append(element("i", {}, "→"));
      chain.append(element("span", { class: node === row ? "here" : "" }, this.events.name(node)));
    });
    chain.addEventListener("pointerenter", () => this.events.onPointAtPath(true));
    chain.addEventListener("pointerleave", () => this.events.onPointAtPath(false));
    chain.addEventListener("focus", () => this.events.onPointAtPath(true));
    chain.addEventListener("blur", () => this.events.onPointAtPath(false));
    return [element("section", { class: "path" }, element("h4", {}, "Strongest path"), chain)];
  }

  private side(row: number, title: string, edges: number[], ends: Int32Array, total: number): HTMLElement {
    const ranked = strongest(this.model, edges);
    const largest = Math.abs(this.model.weight[ranked[0] ?? -1] ?? 1) || 1;
    const sign = (positive: boolean) => ranked.filter((edge) => this.model.weight[edge]! > 0 === positive);
    const section = element("section", {}, element("h4", {}, title));
    if (!ranked.length) section.append(element("p", { class: "hint" }, "none"));
    for (const [name, list] of [
      ["raising", sign(true)],
      ["lowering", sign(false)],
    ] as const) {
      if (!list.length) continue;
      const sum = list.reduce((all, edge) => all + this.model.weight[edge]!, 0);
      const key = `${title} ${name}`;
      const shown = this.full.has(key) ? 200 : LONGEST;
      const head = element(
        "h5",
        { class: name },
        `${name} · ${list.length}`,
        element("b", {}, formatSigned(sum)),
      );
      section.append(head, this.list(list.slice(0, shown), ends, largest, total));
      if (list.length > shown && !this.full.has(key)) {
        const more = element(
          "button",
          { type: "button", class: "quiet more" },
          `${list.length - shown} more`,
        );
        more.addEventListener("click", () => {
          this.full.add(key);
          const at = this.box.scrollTop;
          this.show(row);
          this.box.scrollTop = at;
        });
        section.append(more);
      }
    }
    return section;
  }

  private list(edges: number[], ends: Int32Array, largest: number, total: number): HTMLElement {
    const { model, events } = this;
    return element(
      "ol",
      {},
      ...edges.map((edge) => {
        const [other, weight] = [ends[edge]!, model.weight[edge]!];
        const pos = model.number("pos", other);
        const place =
          model.kindOf(other) === "feature" && pos !== null ? (model.strings.tokens[pos] ?? "") : "";
        const button = element(
          "button",
          { type: "button", class: events.isShown(other) ? "row" : "row hidden-node" },
          element("span", { class: "name" }, events.name(other)),
          element("span", { class: "place" }, place),
          bar(weight / largest),
          element("span", { class: "weight" }, formatSigned(weight)),
          element("span", { class: "share" }, total > 0 ? formatPercent(Math.abs(weight) / total) : ""),
        );
        if (!events.isShown(other)) button.title = "hidden by the thresholds";
        button.addEventListener("pointerenter", () => events.onPointAtEdge(edge));
        button.addEventListener("pointerleave", () => events.onPointAtEdge(null));
        button.addEventListener("click", () => events.onGo(other));
        return element("li", {}, button);
      }),
    );
  }
}

function hints(): HTMLElement[] {
  const keys: [string, string][] = [
    ["click", "see what a node gets and gives"],
    ["↑ ↓", "follow the strongest edge to what a node acts on, or back"],
    ["← →", "the next strongest beside it"],
    ["P", "pin into the subgraph"],
    ["hold G", "click nodes to group them"],
    ["Shift", "hold to freeze what is lit"],
    ["/", "search: words, layer:3, token:capital, L3/55"],
    ["Esc", "let go"],
    ["wheel, drag", "zoom, move; double-click fits"],
  ];
  return [
    element("p", { class: "hint lead" }, "Point at a node to light up its edges."),
    element(
      "dl",
      { class: "keys" },
      ...keys.map(([key, text]) => element("div", {}, element("dt", {}, key), element("dd", {}, text))),
    ),
  ];
}
