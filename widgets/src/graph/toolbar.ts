// The controls above the drawing.

import { element } from "../shared/dom";
import { icon } from "../shared/svg";
import type { Change, LinkMode, ViewState } from "./state";

export interface ToolbarEvents {
  onChange(change: Change): void;
  onSearch(text: string): void;
  onNext(): void;
  onUndo(): void;
  onRedo(): void;
  onFit(): void;
  onZoom(factor: number): void;
  onGroup(): void;
  onFullScreen(): void;
  onExport: ((format: string) => void) | null;
}

const MODES: [LinkMode, string, string][] = [
  ["inputs", "In", "Edges into the clicked node"],
  ["outputs", "Out", "Edges out of the clicked node"],
  ["either", "Either", "Edges into or out of the clicked node"],
  ["both", "Both", "Those, and the edges between pinned nodes"],
];
const ICONS = {
  undo: "M6 4L3 7l3 3M3 7h6a4 4 0 0 1 0 8H7",
  redo: "M10 4l3 3-3 3M13 7H7a4 4 0 0 0 0 8h2",
  fit: "M2.5 6V2.5H6M10 2.5h3.5V6M13.5 10v3.5H10M6 13.5H2.5V10M6 6h4v4H6z",
  full: "M9.5 2.5h4v4M6.5 13.5h-4v-4M13.5 2.5L9 7M2.5 13.5L7 9",
  plus: "M8 3.5v9M3.5 8h9",
  minus: "M3.5 8h9",
  save: "M8 2.5v7M5 7l3 3 3-3M3 13h10",
};

export class Toolbar {
  readonly box = element("div", { class: "toolbar", role: "toolbar", "aria-label": "Attribution graph" });
  readonly search = element("input", {
    type: "search",
    placeholder: "Search",
    "aria-label": "Search by label, token, feature or layer",
    title: "words, layer:3, token:capital, pos:4, kind:error, group:…, L3/55",
    spellcheck: "false",
  });
  private readonly found = element("output", { class: "found", "aria-live": "polite" });
  private readonly modes = new Map<LinkMode, HTMLButtonElement>();
  private readonly modeSelect = element("select", {
    class: "mode",
    "aria-label": "Edges of the clicked node",
    title: "Which edges of the clicked node light up",
  });
  private readonly sliders: { name: Threshold; input: HTMLInputElement; value: HTMLElement }[] = [];
  private readonly undo: HTMLButtonElement;
  private readonly redo: HTMLButtonElement;
  private readonly group: HTMLButtonElement;
  private readonly exporter: HTMLElement | null;

  constructor(
    hasDensity: boolean,
    private readonly events: ToolbarEvents,
  ) {
    this.search.addEventListener("input", () => events.onSearch(this.search.value));
    this.search.addEventListener("keydown", (event) => {
      event.stopPropagation();
      if (event.key === "Enter") events.onNext();
      if (event.key === "Escape") {
        this.search.value = "";
        events.onSearch("");
        this.search.blur();
      }
    });
    this.undo = this.button("Undo", ICONS.undo, () => events.onUndo());
    this.redo = this.button("Redo", ICONS.redo, () => events.onRedo());
    this.group = element("button", {
      type: "button",
      "aria-pressed": "false",
      title: "Click nodes, then Group (or hold G)",
    });
    this.group.textContent = "Group";
    this.group.addEventListener("click", () => events.onGroup());
    this.exporter = events.onExport ? this.makeExport(events.onExport) : null;
    const zoom = element(
      "span",
      { class: "joined zoom" },
      this.button("Zoom out", ICONS.minus, () => events.onZoom(1 / 1.35)),
      this.button("Fit", ICONS.fit, () => events.onFit()),
      this.button("Zoom in", ICONS.plus, () => events.onZoom(1.35)),
    );
    const filters = element(
      "span",
      { class: "filters" },
      this.slider("node_threshold", "Nodes", "Share of the influence on the answers that shown nodes carry"),
      this.slider("edge_threshold", "Edges", "Share of the influence between them that shown edges carry"),
      ...(hasDensity
        ? [this.slider("density_threshold", "Density", "Hides features active on more tokens")]
        : []),
    );
    const actions = element(
      "span",
      { class: "actions" },
      this.group,
      element("span", { class: "joined" }, this.undo, this.redo),
      zoom,
      ...(this.exporter ? [this.exporter] : []),
      this.button("Full screen", ICONS.full, () => events.onFullScreen()),
    );
    this.box.append(
      element("span", { class: "search" }, this.search, this.found),
      filters,
      this.makeModes(),
      this.makeModeSelect(),
      actions,
    );
  }

  show(state: ViewState, canUndo: boolean, canRedo: boolean, grouping: number | null): void {
    for (const { name, input, value } of this.sliders) {
      if (this.box.getRootNode() instanceof ShadowRoot && input.matches(":active")) continue;
      input.value = String(1000 * toSlider(name, state[name]));
      value.textContent = percent(name, state[name]);
    }
    for (const [mode, button] of this.modes)
      button.setAttribute("aria-pressed", String(mode === state.link_mode));
    this.modeSelect.value = state.link_mode;
    this.undo.disabled = !canUndo;
    this.redo.disabled = !canRedo;
    this.group.setAttribute("aria-pressed", String(grouping !== null));
    this.group.textContent = grouping === null ? "Group" : grouping ? `Group ${grouping}` : "Click nodes…";
  }

  showFound(count: number | null): void {
    this.found.value = count === null ? "" : String(count);
    this.search.classList.toggle("empty", count === 0);
  }

  private button(name: string, path: string, act: () => void): HTMLButtonElement {
    const made = element(
      "button",
      { type: "button", class: "icon", title: name, "aria-label": name },
      icon(path),
    );
    made.addEventListener("click", act);
    return made;
  }

  private slider(name: Threshold, title: string, hint: string): HTMLElement {
    const input = element("input", {
      type: "range",
      min: "0",
      max: "1000",
      step: "1",
      "aria-label": `${title} shown`,
    });
    const value = element("span", { class: "value" });
    input.addEventListener("input", () => {
      const share = fromSlider(name, Number(input.value) / 1000);
      value.textContent = percent(name, share);
      this.events.onChange({ [name]: share });
    });
    this.sliders.push({ name, input, value });
    return element("label", { class: "slider", title: hint }, element("span", {}, title), input, value);
  }

  private makeModes(): HTMLElement {
    const holder = element("span", {
      class: "joined modes",
      role: "group",
      "aria-label": "Edges of the clicked node",
    });
    for (const [mode, text, hint] of MODES) {
      const button = element("button", { type: "button", title: hint, "aria-pressed": "false" }, text);
      button.addEventListener("click", () => this.events.onChange({ link_mode: mode }));
      this.modes.set(mode, button);
      holder.append(button);
    }
    return holder;
  }

  /** The same choice where there is no room for four buttons. */
  private makeModeSelect(): HTMLElement {
    this.modeSelect.append(...MODES.map(([mode, text]) => element("option", { value: mode }, text)));
    this.modeSelect.addEventListener("change", () =>
      this.events.onChange({ link_mode: this.modeSelect.value as LinkMode }),
    );
    return this.modeSelect;
  }

  private makeExport(act: (format: string) => void): HTMLElement {
    const select = element("select", {
      class: "export",
      "aria-label": "Export",
      title: "Export the figure, or the graph",
    });
    const options = [
      ["", "Export"],
      ["svg", "SVG"],
      ["pdf", "PDF"],
      ["png", "PNG"],
      ["pgf", "PGF (LaTeX)"],
      ["json", "Graph file"],
    ];
    select.append(...options.map(([value = "", text = ""]) => element("option", { value }, text)));
    select.addEventListener("change", () => {
      const format = select.value;
      select.value = "";
      if (format) act(format);
    });
    return select;
  }
}

type Threshold = "node_threshold" | "edge_threshold" | "density_threshold";

/** The scale is finer near 1 for shares of influence and near 0 for densities, where most of the choice lies. */
export function toSlider(name: Threshold, share: number): number {
  return name === "density_threshold" ? share ** (1 / 3) : 1 - (1 - share) ** 0.5;
}

export function fromSlider(name: Threshold, at: number): number {
  if (name === "density_threshold") return Number((at ** 3).toPrecision(2));
  return Math.round(1000 * (1 - (1 - at) ** 2)) / 1000;
}

function percent(name: Threshold, share: number): string {
  return `${Number(name === "density_threshold" ? (100 * share).toPrecision(2) : (100 * share).toFixed(1))}%`;
}
