// The attribution graph as a component: it knows its element, its data and its callbacks, not Jupyter.

import { element, shownText } from "../shared/dom";
import { formatNumber, formatPercent } from "../shared/numbers";
import { shadowRoot } from "../shared/shadow";
import { coloursOf, followTheme, paint } from "../shared/theme";
import { around, countsOf } from "./around";
import { KIND_NAMES, plainName } from "./describe";
import css from "./graph.widget.css";
import { freshName, grouped, renamed, type Unit, ungrouped } from "./groups";
import type { GraphModel } from "./model";
import { strongest } from "./model";
import { Panel } from "./panel";
import type { Place } from "./place";
import { type Shown, shownBy } from "./prune";
import { pathThrough } from "./routes";
import { find } from "./search";
import { type Lit, Stage } from "./stage";
import { type Change, Store, type ViewState } from "./state";
import { Subgraph } from "./subgraph";
import { Toolbar } from "./toolbar";

export interface Callbacks {
  /** The user changed something; the fields that differ. */
  onState?(change: Change): void;
  /** The size of the drawing area in pixels, once and when it has changed much. */
  onExtent?(width: number, height: number): void;
  /** Gives a file to save, or throws with a reason. */
  onExport?(format: string, report: (sentence: string) => void): Promise<{ name: string; data: Blob }>;
}

export interface Options {
  height: number;
  state: ViewState;
  place: Place;
  badges?: Record<string, string>;
}

export interface Component {
  setState(change: Change): void;
  setPlace(place: Place): void;
  setBadges(badges: Record<string, string>): void;
  setHeight(pixels: number): void;
  report(sentence: string): void;
}

/** Show a graph inside `host` until `signal` aborts. */
export function mount(
  host: HTMLElement,
  model: GraphModel,
  options: Options,
  callbacks: Callbacks,
  signal: AbortSignal,
): Component {
  return new View(host, model, options, callbacks, signal);
}

class View implements Component {
  private readonly root: HTMLElement;
  private readonly store: Store;
  private readonly stage: Stage;
  private readonly panel: Panel;
  private readonly subgraph: Subgraph;
  private readonly toolbar: Toolbar;
  private readonly counts = element("p", { class: "counts", "aria-live": "polite" });
  private readonly status = element("p", { class: "status", role: "status" });
  private readonly tip = element("div", { class: "tip", hidden: "" });
  private readonly said = element("p", { class: "said", "aria-live": "polite" });
  private place: Place;
  private shown: Shown;
  private badges: Record<string, string>;
  private hovered: number | null = null;
  private pointedEdge: number | null = null;
  private pointedRows: readonly number[] | null = null;
  private onPath = false;
  private frozen = false;
  private grouping: Set<string> | null = null;
  private found: number[] = [];
  private foundAt = -1;
  private cameBy: { from: number; side: "inputs" | "outputs"; at: number } | null = null;
  private lastExtent: [number, number] = [0, 0];
  private redrawing = 0;

  constructor(
    host: HTMLElement,
    private readonly model: GraphModel,
    options: Options,
    private readonly callbacks: Callbacks,
    signal: AbortSignal,
  ) {
    this.root = shadowRoot(host, css);
    this.setHeight(options.height);
    this.store = new Store(options.state);
    this.place = options.place;
    this.badges = options.badges ?? {};
    this.shown = shownBy(model, this.state);
    const colours = coloursOf("light");
    this.stage = new Stage(
      model,
      colours,
      { onHover: (row) => this.hover(row), onClick: (row) => this.click(row) },
      signal,
    );
    this.stage.box.tabIndex = 0;
    this.stage.box.setAttribute("role", "application");
    this.stage.box.setAttribute(
      "aria-label",
      `Attribution graph of: ${model.strings.prompt}. Arrow keys follow edges.`,
    );
    this.panel = new Panel(model, this.panelEvents());
    this.subgraph = new Subgraph(model, colours, this.subgraphEvents());
    this.toolbar = new Toolbar(model.hasDensity, this.toolbarEvents());
    const foot = element("div", { class: "foot" }, this.counts, this.status);
    const main = element("div", { class: "main" }, this.stage.box, this.subgraph.box);
    this.root.append(
      this.toolbar.box,
      element("div", { class: "body" }, main, this.panel.box),
      foot,
      this.tip,
      this.said,
    );
    this.listen(signal);
    followTheme((name) => {
      paint(this.root, name);
      this.stage.paint(coloursOf(name));
      this.subgraph.paint(coloursOf(name));
    }, signal);
    this.subgraph.box.hidden = true;
    this.refresh(true);
    const observer = new ResizeObserver(() => this.resized());
    observer.observe(this.stage.box);
    signal.addEventListener("abort", () => {
      observer.disconnect();
      cancelAnimationFrame(this.redrawing);
    });
  }

  // What the host may do

  setState(change: Change): void {
    const different = this.store.change(change);
    if (Object.keys(different).length) this.refresh(touchesShown(different), "labels" in different);
  }

  setPlace(place: Place): void {
    this.place = place;
    this.refresh(true);
  }

  setBadges(badges: Record<string, string>): void {
    this.badges = badges;
    this.refresh(false);
  }

  setHeight(pixels: number): void {
    this.root.style.height = `${pixels}px`;
  }

  report(sentence: string): void {
    this.status.textContent = sentence;
    this.status.classList.toggle("speaking", sentence !== "");
  }

  // State

  private get state(): ViewState {
    return this.store.state;
  }

  private get clicked(): number | null {
    return this.state.clicked === null ? null : (this.model.rowOf.get(this.state.clicked) ?? null);
  }

  private change(change: Change): void {
    this.after(this.store.change(change));
  }

  private after(different: Change): void {
    if (!Object.keys(different).length) return;
    this.callbacks.onState?.(different);
    this.refresh(touchesShown(different), "labels" in different);
  }

  /** Draw what changed; what decides which nodes show is redrawn once per frame, also while a slider is dragged. */
  private refresh(shown: boolean, labels = false): void {
    if (shown || labels) {
      cancelAnimationFrame(this.redrawing);
      this.redrawing = requestAnimationFrame(() => {
        this.shown = shownBy(this.model, this.state);
        this.stage.show(this.place, this.shown, (row) => this.newLabel(row));
        this.refreshAround();
      });
    } else this.refreshAround();
  }

  private refreshAround(): void {
    const { state } = this;
    this.toolbar.show(state, this.store.canUndo, this.store.canRedo, this.grouping?.size ?? null);
    this.panel.show(this.clicked);
    const badges = new Map(Object.entries(this.badges));
    const any = this.subgraph.show(state, this.clicked, badges);
    if (this.subgraph.box.hidden === any) {
      this.subgraph.box.hidden = !any;
      this.subgraph.show(state, this.clicked, badges);
    }
    this.showCounts();
    this.mark();
    this.light();
  }

  private id(row: number): string {
    return this.model.strings.id[row] ?? "";
  }

  private name(row: number): string {
    const own = this.state.labels[this.id(row)];
    if (own === "") return plainName(this.model, row);
    return own ? shownText(own) : this.model.strings.name[row] || this.id(row);
  }

  /** The user's label where the layout does not know it and so made no room. */
  private newLabel(row: number): string | null {
    const own = this.state.labels[this.id(row)];
    return own !== undefined && own !== this.model.strings.name[row] ? this.name(row) : null;
  }

  private groupOf(row: number): string {
    const id = this.id(row);
    return shownText(Object.entries(this.state.supernodes).find(([, ids]) => ids.includes(id))?.[0] ?? "");
  }

  // What is lit

  private hover(row: number | null): void {
    if (this.frozen) return;
    if (row !== this.hovered) {
      this.hovered = row;
      this.light();
    }
    this.showTip(row);
  }

  private lit(): Lit {
    const { clicked, model } = this;
    if (this.pointedEdge !== null) {
      const ends = [model.source[this.pointedEdge]!, model.target[this.pointedEdge]!];
      return { nodes: new Set(ends), edges: [this.pointedEdge] };
    }
    if (this.onPath && clicked !== null) {
      const path = pathThrough(model, this.shown, clicked);
      return { nodes: new Set(path.nodes), edges: path.edges };
    }
    if (this.pointedRows) return around(this.model, this.shown, this.state, this.pointedRows);
    const row = this.hovered ?? clicked;
    return row === null ? { nodes: new Set(), edges: [] } : around(this.model, this.shown, this.state, [row]);
  }

  private light(): void {
    this.stage.light(this.lit());
  }

  private mark(): void {
    const rows = (ids: Iterable<string>) => new Set([...ids].flatMap((id) => this.model.rowOf.get(id) ?? []));
    this.stage.mark({
      clicked: this.clicked,
      pinned: rows(this.state.pinned),
      grouped: rows(Object.values(this.state.supernodes).flat()),
      grouping: rows(this.grouping ?? []),
      found: new Set(this.found),
      badges: new Map(
        Object.entries(this.badges).flatMap(([id, text]) => {
          const row = this.model.rowOf.get(id);
          return row === undefined ? [] : [[row, text] as const];
        }),
      ),
    });
  }

  private showTip(row: number | null): void {
    this.tip.hidden = row === null;
    if (row === null) return;
    const { model } = this;
    const [layer, feature, pos] = [
      model.number("layer", row),
      model.number("feature", row),
      model.number("pos", row),
    ];
    const kind = model.kindOf(row);
    const parts = [
      kind === "feature" && feature !== null ? `L${layer}/${feature}` : KIND_NAMES[kind],
      pos === null ? "" : `at ${pos} ${model.strings.tokens[pos] ?? ""}`,
      model.number("activation", row) === null
        ? ""
        : `activation ${formatNumber(model.number("activation", row))}`,
      model.number("probability", row) === null ? "" : formatPercent(model.number("probability", row)),
    ].filter(Boolean);
    this.tip.replaceChildren(element("strong", {}, this.name(row)), element("span", {}, parts.join(" · ")));
    const [x, y] = this.stage.screen(row);
    const frame = this.stage.box.getBoundingClientRect();
    const root = this.root.getBoundingClientRect();
    const left = Math.max(4, Math.min(x - this.tip.offsetWidth / 2, frame.width - this.tip.offsetWidth - 4));
    const above = y - this.tip.offsetHeight - 16;
    this.tip.style.left = `${left + frame.left - root.left}px`;
    this.tip.style.top = `${(above > 2 ? above : y + 18) + frame.top - root.top}px`;
  }

  private showCounts(): void {
    const [bold, hidden] = countsOf(this.model, this.shown);
    this.counts.replaceChildren(element("b", {}, bold), hidden ? ` · hidden: ${hidden}` : "");
  }

  // What the user does

  private click(row: number | null): void {
    this.stage.box.focus({ preventScroll: true });
    if (this.grouping && row !== null) {
      const id = this.id(row);
      if (!this.grouping.delete(id)) this.grouping.add(id);
      this.refresh(false);
      return;
    }
    this.cameBy = null;
    this.go(row);
  }

  private go(row: number | null): void {
    this.hovered = null;
    this.pointedEdge = null;
    this.tip.hidden = true;
    this.change({ clicked: row === null ? null : this.id(row) });
    if (row !== null) {
      this.stage.reveal(row);
      this.said.textContent = this.name(row);
    }
  }

  private pin(row: number): void {
    const id = this.id(row);
    const { pinned } = this.state;
    this.change({ pinned: pinned.includes(id) ? pinned.filter((other) => other !== id) : [...pinned, id] });
  }

  /** Without a text the node is called by its number, whatever label the graph came with. */
  private setLabel(row: number, text: string): void {
    const { [this.id(row)]: _, ...labels } = this.state.labels;
    const [given, plain] = [this.model.strings.name[row], plainName(this.model, row)];
    const own = text || given !== plain ? text : undefined;
    this.change({ labels: own === undefined ? labels : { ...labels, [this.id(row)]: own } });
  }

  /** Make a group of what was picked, and let its name be edited. */
  private closeGroup(): void {
    const ids = [...(this.grouping ?? [])];
    this.grouping = null;
    if (!ids.length) {
      this.refresh(false);
      return;
    }
    const rows = ids.map((id) => this.model.rowOf.get(id) ?? 0);
    const names = new Set(rows.map((row) => this.name(row)));
    const name = freshName(this.model, this.state, names.size === 1 ? ([...names][0] ?? "") : "");
    this.change(grouped(this.state, ids, name));
    this.subgraph.rename(name);
  }

  private toggleGrouping(): void {
    if (this.grouping) this.closeGroup();
    else {
      this.grouping = new Set();
      this.refresh(false);
    }
  }

  private clickUnit(unit: Unit): void {
    if (this.grouping) {
      for (const row of unit.rows) this.grouping.add(this.id(row));
      this.refresh(false);
    } else this.go(unit.rows[0] ?? null);
  }

  private arrow(key: string): void {
    const { model, clicked } = this;
    const visible = (edge: number) =>
      this.shown.edges[edge] &&
      this.stage.isShown(model.source[edge]!) &&
      this.stage.isShown(model.target[edge]!);
    if (clicked === null) {
      const first = [...Array(model.count).keys()].reverse().find((row) => this.stage.isShown(row));
      if (first !== undefined) this.go(first);
      return;
    }
    if (key === "ArrowUp" || key === "ArrowDown") {
      const side = key === "ArrowUp" ? "outputs" : "inputs";
      const edge = strongest(model, model[side](clicked)).find(visible);
      if (edge === undefined) return;
      this.cameBy = { from: clicked, side, at: 0 };
      this.go(side === "inputs" ? model.source[edge]! : model.target[edge]!);
      return;
    }
    const came = this.cameBy;
    if (!came) {
      this.sibling(clicked, key === "ArrowRight" ? 1 : -1);
      return;
    }
    const beside = strongest(model, model[came.side](came.from)).filter(visible);
    const at = Math.min(beside.length - 1, Math.max(0, came.at + (key === "ArrowRight" ? 1 : -1)));
    this.cameBy = { ...came, at };
    const edge = beside[at];
    if (edge !== undefined) this.go(came.side === "inputs" ? model.source[edge]! : model.target[edge]!);
  }

  /** The nearest node of the same height, left or right. */
  private sibling(row: number, step: 1 | -1): void {
    const { x, y } = this.place;
    let [best, least] = [-1, Number.POSITIVE_INFINITY];
    for (let other = 0; other < this.model.count; other++) {
      if (!this.stage.isShown(other) || (x[other]! - x[row]!) * step <= 0.5) continue;
      const distance = Math.abs(x[other]! - x[row]!) + 4 * Math.abs(y[other]! - y[row]!);
      if (distance < least) [best, least] = [other, distance];
    }
    if (best >= 0) this.go(best);
  }

  private search(text: string): void {
    this.found = find(
      this.model,
      text,
      (row) => this.name(row),
      (row) => this.groupOf(row),
    );
    this.foundAt = -1;
    this.toolbar.showFound(text.trim() ? this.found.length : null);
    this.mark();
  }

  private nextFound(): void {
    const visible = this.found.filter((row) => this.stage.isShown(row));
    if (!visible.length) {
      if (this.found.length) this.report("What was found is hidden by the thresholds.");
      return;
    }
    this.foundAt = (this.foundAt + 1) % visible.length;
    this.go(visible[this.foundAt] ?? null);
  }

  private async export(format: string): Promise<void> {
    if (!this.callbacks.onExport) return;
    this.report("Drawing the file…");
    try {
      const { name, data } = await this.callbacks.onExport(format, (sentence) => this.report(sentence));
      const link = element("a", { href: URL.createObjectURL(data), download: name });
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
      this.report(`Exported ${name}.`);
    } catch (error) {
      this.report(`Not exported: ${error instanceof Error ? error.message : String(error)}`);
    }
  }

  private key(event: KeyboardEvent): void {
    const typing = event.composedPath()[0] instanceof HTMLInputElement;
    const command = event.ctrlKey || event.metaKey;
    if (event.key === "Shift") this.frozen = true;
    if (typing && (event.composedPath()[0] as HTMLInputElement).type !== "range") return;
    const acts: Record<string, () => void> = {
      Escape: () => this.escape(),
      "/": () => this.toolbar.search.focus(),
      p: () => this.clicked !== null && this.pin(this.clicked),
      f: () => this.stage.fit(),
      "+": () => this.stage.zoom(1.35),
      "-": () => this.stage.zoom(1 / 1.35),
    };
    if (command && event.key.toLowerCase() === "z")
      this.after(event.shiftKey ? this.store.redo() : this.store.undo());
    else if (command && event.key.toLowerCase() === "y") this.after(this.store.redo());
    else if (command || event.altKey) return;
    else if (event.key.startsWith("Arrow") && !typing) this.arrow(event.key);
    else if (event.key.toLowerCase() === "g") {
      if (!event.repeat && !this.grouping) this.toggleGrouping();
    } else if (acts[event.key]) acts[event.key]?.();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  private escape(): void {
    this.grouping = null;
    this.onPath = false;
    this.pointedRows = null;
    this.toolbar.search.value = "";
    this.search("");
    this.report("");
    this.go(null);
    this.refresh(false);
  }

  private listen(signal: AbortSignal): void {
    this.root.addEventListener("keydown", (event) => this.key(event), { signal });
    this.root.addEventListener(
      "keyup",
      (event) => {
        if (event.key === "Shift") this.frozen = false;
        const typing = event.composedPath()[0] instanceof HTMLInputElement;
        if (event.key.toLowerCase() === "g" && this.grouping?.size && !typing) this.closeGroup();
      },
      { signal },
    );
    this.stage.box.addEventListener("blur", () => {
      this.frozen = false;
    });
  }

  private resized(): void {
    this.stage.resize();
    if (!this.subgraph.box.hidden) this.subgraph.arrange();
    const [wide, high] = this.stage.extent;
    const [lastWide, lastHigh] = this.lastExtent;
    if (!wide || (Math.abs(wide - lastWide) < 40 && Math.abs(high - lastHigh) < 60)) return;
    this.lastExtent = [wide, high];
    this.callbacks.onExtent?.(wide, high);
  }

  private fullScreen(): void {
    if (document.fullscreenElement) void document.exitFullscreen();
    else
      this.root
        .requestFullscreen?.()
        .catch((error: Error) => this.report(`No full screen: ${error.message}`));
  }

  // Wiring

  private panelEvents() {
    return {
      name: (row: number) => this.name(row),
      isPinned: (row: number) => this.state.pinned.includes(this.id(row)),
      isShown: (row: number) => this.shown.nodes[row] === 1,
      groupOf: (row: number) => this.groupOf(row),
      onGo: (row: number) => {
        this.cameBy = null;
        this.go(row);
      },
      onPointAtEdge: (edge: number | null) => {
        this.pointedEdge = edge;
        this.light();
      },
      onPointAtPath: (on: boolean) => {
        this.onPath = on;
        this.light();
      },
      onPin: (row: number) => this.pin(row),
      onLabel: (row: number, text: string) => this.setLabel(row, text),
      pathOf: (row: number) => pathThrough(this.model, this.shown, row).nodes,
    };
  }

  private subgraphEvents() {
    return {
      name: (row: number) => this.name(row),
      onClick: (unit: Unit) => this.clickUnit(unit),
      onHover: (rows: readonly number[] | null) => {
        this.pointedRows = rows;
        this.light();
      },
      onMove: (key: string, at: [number, number]) =>
        this.change({ positions: { ...this.state.positions, [key]: at } }),
      onRename: (from: string, to: string) =>
        this.change(renamed(this.state, from, freshName(this.model, this.state, to))),
      onUngroup: (name: string) => this.change(ungrouped(this.state, name)),
      onUnpin: (id: string) => this.change({ pinned: this.state.pinned.filter((other) => other !== id) }),
    };
  }

  private toolbarEvents() {
    return {
      onChange: (change: Change) => this.change(change),
      onSearch: (text: string) => this.search(text),
      onNext: () => this.nextFound(),
      onUndo: () => this.after(this.store.undo()),
      onRedo: () => this.after(this.store.redo()),
      onFit: () => this.stage.fit(),
      onZoom: (factor: number) => this.stage.zoom(factor),
      onGroup: () => this.toggleGrouping(),
      onFullScreen: () => this.fullScreen(),
      onExport: this.callbacks.onExport ? (format: string) => void this.export(format) : null,
    };
  }
}

function touchesShown(change: Change): boolean {
  return "node_threshold" in change || "edge_threshold" in change || "density_threshold" in change;
}
