// The sliders as a component: rows on the left, before and after on the right; it knows no Jupyter.

import { element } from "../shared/dom";
import { shadowRoot } from "../shared/shadow";
import { icon } from "../shared/svg";
import { followTheme, paint } from "../shared/theme";
import { AddingView } from "./adding";
import { CodeView } from "./code";

import { OptionsView } from "./options";
import { ResultsView } from "./results";
import { RowView } from "./row";
import { Sending } from "./sending";
import css from "./sliders.widget.css";
import {
  AXIS,
  type Context,
  type Move,
  type Result,
  type Setting,
  type SliderState,
  withAmount,
  withWhere,
} from "./state";

export interface Options {
  height: number;
  state: SliderState;
  context: Context;
  result: Result;
  code: string;
}

export interface Callbacks {
  /** Resolves with the revision under which the outcome will come; rejects with words for the user. */
  onMove(move: Move): Promise<number>;
  onRows(rows: string[]): Promise<number>;
  /** Whether there was anything to undo or redo. */
  onTravel(way: "undo" | "redo"): Promise<boolean>;
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

const UNDO = "M6 4L3 7l3 3M3 7h6.5a3.5 3.5 0 0 1 0 7H7";
const REDO = "M10 4l3 3-3 3M13 7H6.5a3.5 3.5 0 0 0 0 7H9";

class View implements Component {
  readonly origin = Math.random().toString(36).slice(2);
  private readonly root: HTMLElement;
  private readonly results = new ResultsView();
  private readonly options = new OptionsView((change) => this.act({ ...this.setting(), ...change }));
  private readonly adding = new AddingView((name) => this.add(name));
  private readonly code = new CodeView((sentence) => this.say(sentence));
  private readonly list = element("ul", { class: "rows" });
  private readonly status = element("span", { class: "status", role: "status" });
  private readonly kernel = element("span", { class: "kernel", role: "status" });
  private readonly time = element("span", { class: "time", title: "How long the model took" });
  private readonly prompt = element("span", { class: "prompt", dir: "auto" });
  private readonly reset = element("button", { type: "button", title: "All rows as they were" }, "Reset");
  private readonly views = new Map<string, RowView>();
  private readonly sending: Sending<Move>;
  private readonly callbacks: Callbacks;
  private state: SliderState;
  private context: Context;
  private gesture = 0;
  private said = "";
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
    this.sending = new Sending(
      (move) => this.callbacks.onMove(move),
      (error) => this.fail(error),
    );
    signal.addEventListener("abort", () => this.sending.stop());
    this.root = shadowRoot(host, css);
    this.build();
    followTheme((name) => paint(this.root, name), signal);
    this.setHeight(options.height);
    this.setContext(options.context);
    this.setState(options.state);
    this.setCode(options.code);
    this.setResult(options.result);
  }

  // What the host may do

  setState(state: SliderState): void {
    if (state.origin === this.origin || state.revision < this.sending.newest) {
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
    this.adding.offer(context.offered);
    this.options.offer(context.modes, context.layers);
  }

  setResult(result: Result): void {
    if (result.revision !== undefined && !this.sending.accept(result.revision)) return;
    this.error = result.error ?? "";
    this.results.show(result);
    this.time.textContent = result.ms === undefined ? "" : `${Math.round(result.ms)} ms`;
    this.root.dataset.revision = String(result.revision ?? 0);
    this.showStatus();
  }

  setCode(code: string): void {
    this.code.show(code);
  }

  setHeight(height: number): void {
    this.root.style.height = `${height}px`;
  }

  report(sentence: string): void {
    this.kernel.textContent = sentence;
    this.kernel.hidden = !sentence;
    this.results.setStale(Boolean(sentence));
  }

  // Building

  private build(): void {
    const travel = element(
      "span",
      { class: "joined" },
      this.traveller("undo", UNDO),
      this.traveller("redo", REDO),
    );
    const bar = element("div", { class: "toolbar" }, this.prompt, travel, this.reset, this.code.button);
    const controls = element("div", { class: "controls" }, scale(), this.list, this.adding.root);
    const foot = element("div", { class: "foot" }, this.status, this.kernel, this.time);
    this.kernel.hidden = true;
    this.root.append(
      bar,
      this.options.root,
      element("div", { class: "body" }, controls, this.results.root),
      this.code.panel,
      foot,
    );
    this.reset.addEventListener("click", () =>
      this.act({ ...this.setting(), factors: {}, values: {}, where: {} }),
    );
    this.root.addEventListener("keydown", (event) => this.key(event), { signal: this.signal });
  }

  private traveller(way: "undo" | "redo", path: string): HTMLButtonElement {
    const title = way === "undo" ? "Undo (Ctrl+Z)" : "Redo (Ctrl+Shift+Z)";
    const made = element("button", { type: "button", class: "icon", title, "aria-label": title }, icon(path));
    made.addEventListener("click", () => this.travel(way));
    return made;
  }

  private viewOf(name: string): RowView {
    const made = this.views.get(name);
    if (made) return made;
    const info = this.state.rows.find((row) => row.name === name);
    if (!info) throw new Error(`no row is called ${name}`);
    const view = new RowView(info, this.context.prompt, {
      onGesture: () => this.gesture++,
      onAmount: (row, amount) => this.push(withAmount(this.setting(), row, amount)),
      onWhere: (row, where) => this.act(withWhere(this.setting(), row, where)),
      onRemove: (row) =>
        this.setRows(this.state.rows.map((one) => one.name).filter((other) => other !== row)),
    });
    this.views.set(name, view);
    return view;
  }

  // What the user does

  private key(event: KeyboardEvent): void {
    event.stopPropagation();
    const typing =
      event.composedPath()[0] instanceof HTMLInputElement &&
      !(event.composedPath()[0] as HTMLInputElement).matches(".amount");
    if (!(event.ctrlKey || event.metaKey) || event.key.toLowerCase() !== "z" || typing) return;
    event.preventDefault();
    this.travel(event.shiftKey ? "redo" : "undo");
  }

  private setting(): Setting {
    const { factors, values, where, mode, end_layer, freeze_attention, n_tokens } = this.state;
    return { factors, values, where, mode, end_layer, freeze_attention, n_tokens };
  }

  /** A change that is one step for undo. */
  private act(setting: Setting): void {
    this.gesture++;
    this.push(setting);
  }

  /** A change that belongs to the gesture that is going on, such as a drag. */
  private push(setting: Setting): void {
    this.state = { ...this.state, ...setting };
    this.said = "";
    this.showSetting();
    this.sending.push({ ...setting, gesture: this.gesture });
  }

  private add(name: string): void {
    const names = this.state.rows.map((row) => row.name);
    if (names.includes(name)) this.views.get(name)?.root.scrollIntoView({ block: "nearest" });
    else this.setRows([...names, name]);
  }

  private setRows(rows: string[]): void {
    this.callbacks.onRows(rows).catch((error: Error) => this.fail(error));
  }

  private travel(way: "undo" | "redo"): void {
    this.gesture++;
    this.callbacks.onTravel(way).then(
      (done) => this.say(done ? "" : `Nothing to ${way}.`),
      (error: Error) => this.fail(error),
    );
  }

  // Showing

  private showSetting(): void {
    for (const row of this.state.rows) this.viewOf(row.name).show(row, this.state);
    this.options.show(this.state);
    const { factors, values, where } = this.state;
    this.reset.disabled = ![factors, values, where].some((part) => Object.keys(part).length);
  }

  private showClicked(): void {
    const { clicked, rows } = this.state;
    this.adding.show(clicked && !rows.some((row) => row.name === clicked) ? clicked : null);
  }

  private fail(error: Error): void {
    if (error.name === "AbortError" || error.message === this.kernel.textContent) return;
    this.error = error.message;
    this.showStatus();
  }

  private say(sentence: string): void {
    this.said = sentence;
    this.showStatus();
  }

  private showStatus(): void {
    this.status.textContent = this.error || this.said;
    this.status.classList.toggle("error", Boolean(this.error));
  }
}

/** What stands above the rows: the numbers of their common axis. */
function scale(): HTMLElement {
  const marks = [AXIS.min, 0, AXIS.rest, AXIS.max].map((at) => {
    const mark = element("b", {}, at < 0 ? `−${-at}` : at === AXIS.rest ? "own" : String(at));
    mark.style.left = `calc(7px + (100% - 14px) * ${(at - AXIS.min) / (AXIS.max - AXIS.min)})`;
    return mark;
  });
  const title = element("h4", {}, "Interventions, as multiples of the own activation");
  return element("div", { class: "scales" }, title, element("div", {}, ...marks));
}
