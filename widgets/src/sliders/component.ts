// The sliders as a component: rows on the left, before and after on the right; it knows no Jupyter.

import { element } from "../shared/dom";
import { shadowRoot } from "../shared/shadow";
import { followTheme, paint } from "../shared/theme";
import { Latest } from "./latest";
import { ResultsView } from "./results";
import { RowView } from "./row";
import css from "./sliders.widget.css";
import { type Context, type Result, type Setting, type SliderState, withAmount, withWhere } from "./state";

export interface Options {
  height: number;
  state: SliderState;
  context: Context;
  result: Result;
  code: string;
}

export interface Callbacks {
  /** Resolves with the revision under which the outcome will come; rejects with words for the user. */
  onMove(setting: Setting): Promise<number>;
  onRows(rows: string[]): Promise<number>;
}

export interface Component {
  /** This view's name, by which it knows its own changes when they come back. */
  readonly origin: string;
  setState(state: SliderState): void;
  setContext(context: Context): void;
  setResult(result: Result): void;
  setCode(code: string): void;
  setHeight(height: number): void;
  /** A sentence about the kernel; "" when all is well. */
  report(sentence: string): void;
}

export function mount(
  host: HTMLElement,
  options: Options,
  callbacks: (origin: string) => Callbacks,
  signal: AbortSignal,
): Component {
  return new View(host, options, callbacks, signal);
}

class View implements Component {
  readonly origin = Math.random().toString(36).slice(2);
  private readonly root: HTMLElement;
  private readonly results = new ResultsView();
  private readonly list = element("ul", { class: "rows" });
  private readonly status = element("span", { class: "status", role: "status" });
  private readonly kernel = element("span", { class: "kernel", role: "status" });
  private readonly time = element("span", { class: "time" });
  private readonly prompt = element("span", { class: "prompt" });
  private readonly code = element("textarea", { class: "code", readonly: "", spellcheck: "false" });
  private readonly panel = element("div", { class: "code-panel" });
  private readonly freeze = button("Freeze attention", "Hold the attention patterns of the unperturbed run");
  private readonly length = element("input", { type: "number", min: "0", max: "64", class: "length" });
  private readonly reset = button("Reset", "All rows as they were");
  private readonly copy = button("Copy as Python", "The code that makes this run");
  private readonly name = element("input", { type: "text", class: "add", list: "offered" });
  private readonly offered = element("datalist", { id: "offered" });
  private readonly clicked = button("", "Add the node that is clicked in the graph");
  private readonly views = new Map<string, RowView>();
  private readonly latest: Latest<Setting>;
  private readonly callbacks: Callbacks;
  private state: SliderState;
  private context: Context;
  private shown = "";
  private error = "";

  constructor(
    host: HTMLElement,
    options: Options,
    callbacks: (origin: string) => Callbacks,
    private readonly signal: AbortSignal,
  ) {
    this.state = options.state;
    this.context = options.context;
    this.callbacks = callbacks(this.origin);
    this.latest = new Latest(
      (setting) => this.callbacks.onMove(setting),
      (error) => this.fail(error),
    );
    signal.addEventListener("abort", () => this.latest.stop());
    this.root = shadowRoot(host, css);
    this.build();
    followTheme((name) => paint(this.root, name), signal);
    this.setHeight(options.height);
    this.setContext(options.context);
    this.setState(options.state);
    this.setCode(options.code);
    this.setResult(options.result);
  }

  setState(state: SliderState): void {
    if (state.origin === this.origin || state.revision < this.latest.newest) {
      this.state = { ...this.state, clicked: state.clicked };
      this.showClicked();
      return;
    }
    this.state = state;
    const names = new Set(state.rows.map((row) => row.name));
    for (const [name, view] of this.views) {
      if (names.has(name)) continue;
      view.root.remove();
      this.views.delete(name);
    }
    this.list.append(...state.rows.map((row) => this.viewOf(row.name).root));
    this.list.classList.toggle("empty", !state.rows.length);
    this.showSetting();
    this.showClicked();
  }

  setContext(context: Context): void {
    this.context = context;
    this.prompt.textContent = context.text;
    this.prompt.title = context.text;
    const options = context.offered.map(({ name, hint }) => element("option", { value: name }, hint));
    this.offered.replaceChildren(...options);
  }

  setResult(result: Result): void {
    if (result.revision !== undefined && !this.latest.accept(result.revision)) return;
    this.error = result.error ?? "";
    this.results.show(result);
    this.time.textContent = result.ms === undefined ? "" : `${Math.round(result.ms)} ms`;
    this.time.title = "How long the model took";
    this.root.dataset.revision = String(result.revision ?? 0);
    this.say();
  }

  setCode(code: string): void {
    this.code.value = code;
  }

  setHeight(height: number): void {
    this.root.style.height = `${height}px`;
  }

  report(sentence: string): void {
    this.kernel.textContent = sentence;
    this.kernel.hidden = !sentence;
    this.results.setStale(Boolean(sentence));
  }

  private build(): void {
    const tokens = element("label", { class: "length-label" }, "Continue by", this.length, "tokens");
    this.length.setAttribute("aria-label", "Tokens of continuation");
    const bar = element("div", { class: "toolbar" }, this.prompt, this.freeze, tokens, this.reset, this.copy);
    this.name.placeholder = "Add a supernode, label, feature or node…";
    this.name.setAttribute("aria-label", "Add a row by name");
    const adding = element("form", { class: "adding" }, this.name, this.offered, this.clicked);
    const marks = [-5, 0, 1, 5].map((at) => {
      const mark = element("b", {}, at < 0 ? `−${-at}` : at === 1 ? "own" : String(at));
      mark.style.left = `calc(7px + (100% - 14px) * ${(at + 5) / 10})`;
      return mark;
    });
    const scale = element(
      "div",
      { class: "scales" },
      element("h4", {}, "Interventions, as multiples of the own activation"),
      element("div", {}, ...marks),
    );
    const controls = element("div", { class: "controls" }, scale, this.list, adding);
    this.panel.append(this.code);
    this.panel.hidden = true;
    const foot = element("div", { class: "foot" }, this.status, this.kernel, this.time);
    this.root.append(bar, element("div", { class: "body" }, controls, this.results.root), this.panel, foot);
    this.kernel.hidden = true;
    this.listen(adding);
  }

  private listen(adding: HTMLFormElement): void {
    const on = { signal: this.signal };
    this.freeze.addEventListener(
      "click",
      () => this.push({ ...this.setting(), freeze_attention: !this.state.freeze_attention }),
      on,
    );
    this.length.addEventListener(
      "change",
      () => this.push({ ...this.setting(), n_tokens: bounded(Number(this.length.value)) }),
      on,
    );
    this.reset.addEventListener(
      "click",
      () => this.push({ ...this.setting(), factors: {}, values: {}, where: {} }),
      on,
    );
    this.copy.addEventListener("click", () => void this.copyCode(), on);
    this.clicked.addEventListener("click", () => this.state.clicked && this.add(this.state.clicked), on);
    adding.addEventListener(
      "submit",
      (event) => {
        event.preventDefault();
        if (this.name.value.trim()) this.add(this.name.value.trim());
      },
      on,
    );
    this.name.addEventListener(
      "change",
      () => {
        if (this.context.offered.some(({ name }) => name === this.name.value)) this.add(this.name.value);
      },
      on,
    );
    this.root.addEventListener("keydown", (event) => event.stopPropagation(), on);
  }

  private viewOf(name: string): RowView {
    const made = this.views.get(name);
    if (made) return made;
    const info = this.state.rows.find((row) => row.name === name);
    if (!info) throw new Error(`no row is called ${name}`);
    const view = new RowView(info, this.context.prompt, {
      onAmount: (row, amount) => this.push(withAmount(this.setting(), row, amount)),
      onWhere: (row, where) => this.push(withWhere(this.setting(), row, where)),
      onRemove: (row) =>
        this.setRows(this.state.rows.map((one) => one.name).filter((other) => other !== row)),
    });
    this.views.set(name, view);
    return view;
  }

  private setting(): Setting {
    const { factors, values, where, freeze_attention, n_tokens } = this.state;
    return { factors, values, where, freeze_attention, n_tokens };
  }

  private push(setting: Setting): void {
    this.state = { ...this.state, ...setting };
    this.showSetting();
    this.latest.push(setting);
  }

  private add(name: string): void {
    const names = this.state.rows.map((row) => row.name);
    if (names.includes(name)) this.views.get(name)?.root.scrollIntoView({ block: "nearest" });
    else this.setRows([...names, name]);
    this.name.value = "";
  }

  private setRows(rows: string[]): void {
    this.callbacks.onRows(rows).catch((error: Error) => this.fail(error));
  }

  private showSetting(): void {
    for (const row of this.state.rows) this.viewOf(row.name).show(row, this.state);
    this.freeze.setAttribute("aria-pressed", String(this.state.freeze_attention));
    this.length.value = String(this.state.n_tokens);
    const { factors, values, where } = this.state;
    this.reset.disabled = ![factors, values, where].some((part) => Object.keys(part).length);
  }

  private showClicked(): void {
    const { clicked, rows } = this.state;
    this.clicked.hidden = !clicked || rows.some((row) => row.name === clicked);
    this.clicked.textContent = `+ ${clicked ?? ""}`;
  }

  private fail(error: Error): void {
    if (error.name === "AbortError" || error.message === this.kernel.textContent) return;
    this.error = error.message;
    this.say();
  }

  private say(): void {
    this.status.textContent = this.error || this.shown;
    this.status.classList.toggle("error", Boolean(this.error));
  }

  private async copyCode(): Promise<void> {
    const open = this.panel.hidden;
    this.panel.hidden = !open;
    this.copy.setAttribute("aria-pressed", String(open));
    this.shown = "";
    if (open) {
      try {
        await navigator.clipboard.writeText(this.code.value);
        this.shown = "Copied to the clipboard.";
      } catch {
        this.code.select();
        this.shown = "The browser does not let this page write to the clipboard: copy the text above.";
      }
    }
    this.say();
  }
}

function button(text: string, title: string): HTMLButtonElement {
  return element("button", { type: "button", title }, text);
}

function bounded(length: number): number {
  return Number.isFinite(length) ? Math.min(64, Math.max(0, Math.round(length))) : 0;
}
