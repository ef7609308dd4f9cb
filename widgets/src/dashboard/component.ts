// The feature dashboard as a component: it knows its element, its data and its callbacks, not Jupyter.

import { bar, element } from "../shared/dom";
import { labelField } from "../shared/labels";
import { formatNumber, formatPercent, formatSigned } from "../shared/numbers";
import { shadowRoot } from "../shared/shadow";
import { icon } from "../shared/svg";
import { followTheme, paint } from "../shared/theme";
import css from "./dashboard.widget.css";
import {
  type EvidenceData,
  type LiveData,
  listed,
  type NeighbourData,
  nameOf,
  type TokenData,
  tokensOf,
  visible,
} from "./evidence";
import { Finder, type Found } from "./finder";
import { HistogramView } from "./histogram";
import { Latest } from "./latest";
import { exampleRow, wholeText } from "./strip";

export interface Callbacks {
  /** Go to another feature; fails with a reason. */
  onGo(name: string): Promise<void>;
  onFind(text: string): Promise<Found[]>;
  onLive(feature: string, text: string, revision: number): Promise<LiveData>;
  /** A label was edited; "" takes it away. */
  onLabel(feature: string, label: string): void;
  onText(text: string): void;
}

export interface Options {
  height: number;
  evidence: EvidenceData | null;
  labels: Record<string, string>;
  text: string;
  canTry: boolean;
  /** Features that are nodes of a linked graph. */
  here?: string[];
}

const BACK = "M10 3L5 8l5 5";
const FORWARD = "M6 3l5 5-5 5";
const PENCIL = "M10.5 3l2.5 2.5L6 12.5l-3 .5.5-3z";
const SOURCES: Record<string, string> = {
  weights: "from the weights",
  prompt: "from the texts shown",
  harvest: "from the harvested corpus",
};

/** Show features inside `host` until `signal` aborts. */
export class Dashboard {
  private readonly root: HTMLElement;
  private readonly head = element("header");
  private readonly left = element("div", { class: "left" });
  private readonly right = element("div", { class: "right" });
  private readonly body = element("div", { class: "body", tabindex: "-1" }, this.left, this.right);
  private readonly status = element("p", { class: "status", role: "status", hidden: "" });
  private readonly back: HTMLButtonElement;
  private readonly forward: HTMLButtonElement;
  private readonly finder: Finder;
  private readonly tried = element("div", { class: "tried", "aria-live": "polite" });
  private readonly tryInput = element("textarea", {
    rows: "1",
    placeholder: "Type a text to see where this feature is active",
    "aria-label": "Try a text",
    spellcheck: "false",
  });
  private readonly live: Latest<{ feature: string; text: string }, LiveData>;
  private evidence: EvidenceData | null;
  private labels: Record<string, string>;
  private past: string[] = [];
  private future: string[] = [];
  private travelling: { way: "back" | "forward"; name: string } | null = null;
  private activations: HistogramView | null = null;
  private logits: HistogramView | null = null;

  constructor(
    host: HTMLElement,
    private readonly options: Options,
    private readonly callbacks: Callbacks,
    signal: AbortSignal,
  ) {
    this.root = shadowRoot(host, css);
    this.setHeight(options.height);
    this.evidence = options.evidence;
    this.labels = options.labels;
    this.back = this.button(BACK, "Back (Alt+←)", () => this.travel("back"));
    this.forward = this.button(FORWARD, "Forward (Alt+→)", () => this.travel("forward"));
    this.finder = new Finder(
      (text) => callbacks.onFind(text),
      (name) => this.go(name),
      (sentence) => this.report(sentence),
    );
    this.live = new Latest(
      ({ feature, text }, revision) => callbacks.onLive(feature, text, revision),
      (seen) => this.showLive(seen),
      (error) => {
        if (error.name !== "AbortError")
          this.tried.replaceChildren(element("p", { class: "complaint" }, error.message));
      },
    );
    this.tryInput.value = options.text;
    this.tryInput.addEventListener("input", () => {
      callbacks.onText(this.tryInput.value);
      this.tryNow();
    });
    this.root.append(
      element(
        "div",
        { class: "toolbar" },
        element("div", { class: "joined" }, this.back, this.forward),
        this.head,
        this.finder.box,
      ),
      this.body,
      this.status,
    );
    this.root.addEventListener("keydown", (event) => this.key(event), { signal });
    followTheme((name) => paint(this.root, name), signal);
    signal.addEventListener("abort", () => this.live.drop());
    this.show();
  }

  // What the host may do

  setEvidence(evidence: EvidenceData | null): void {
    const [before, now] = [this.evidence && nameOf(this.evidence), evidence && nameOf(evidence)];
    if (before && now && before !== now) this.remember(before, now);
    this.travelling = null;
    this.evidence = evidence;
    this.report("");
    const inside = (this.root.getRootNode() as ShadowRoot).activeElement;
    this.show();
    for (const part of [this.body, this.left, this.right]) part.scrollTop = 0;
    if (inside && !inside.isConnected) this.body.focus({ preventScroll: true });
  }

  setLabels(labels: Record<string, string>): void {
    this.labels = labels;
    this.showHead();
  }

  setText(text: string): void {
    if (text === this.tryInput.value) return;
    this.tryInput.value = text;
    this.tryNow();
  }

  setHeight(pixels: number): void {
    this.root.style.height = `${pixels}px`;
  }

  report(sentence: string): void {
    this.status.textContent = sentence;
    this.status.hidden = sentence === "";
  }

  // Going somewhere

  private go(name: string): void {
    this.callbacks.onGo(name).catch((error: Error) => {
      this.travelling = null;
      if (error.name !== "AbortError") this.report(error.message);
    });
  }

  private travel(way: "back" | "forward"): void {
    const name = (way === "back" ? this.past : this.future).at(-1);
    if (name === undefined) return;
    this.travelling = { way, name };
    this.go(name);
  }

  /** Keep what was left for going back; going back and forward moves through what is kept. */
  private remember(before: string, now: string): void {
    if (this.travelling?.name === now) {
      const back = this.travelling.way === "back";
      (back ? this.past : this.future).pop();
      (back ? this.future : this.past).push(before);
    } else {
      this.past.push(before);
      this.future = [];
    }
  }

  private key(event: KeyboardEvent): void {
    const typing =
      event.composedPath()[0] instanceof HTMLInputElement || event.composedPath()[0] === this.tryInput;
    if (event.altKey && (event.key === "ArrowLeft" || event.key === "ArrowRight")) {
      event.preventDefault();
      this.travel(event.key === "ArrowLeft" ? "back" : "forward");
    } else if (event.key === "/" && !typing) {
      event.preventDefault();
      this.finder.input.focus();
    } else if (event.key === "Escape" && typing) (event.composedPath()[0] as HTMLElement).blur();
  }

  // Drawing

  private label(): string {
    return this.evidence ? this.labels[nameOf(this.evidence)] || this.evidence.label : "";
  }

  private show(): void {
    const { evidence } = this;
    this.back.disabled = !this.past.length;
    this.forward.disabled = !this.future.length;
    this.activations = this.logits = null;
    this.showHead();
    this.live.drop();
    if (!evidence) {
      this.left.replaceChildren(hints());
      this.right.replaceChildren();
      return;
    }
    const top = element("div", { class: "top" }, ...this.trySection(), this.histogram(evidence));
    this.left.replaceChildren(top, this.examples(evidence));
    this.right.replaceChildren(
      this.outputs(evidence),
      this.neighbours(evidence, "Reads from", "reads_from"),
      this.neighbours(evidence, "Writes to", "writes_to"),
    );
    this.tryNow();
  }

  private showHead(): void {
    const { evidence } = this;
    if (!evidence) {
      this.head.replaceChildren(element("h3", { class: "none" }, "No feature chosen"));
      return;
    }
    const label = this.label();
    const title = element("h3", { title: "Double-click to edit" }, visible(label) || "no label");
    if (!label) title.classList.add("none");
    title.addEventListener("dblclick", () => this.edit());
    const edit = this.button(PENCIL, "Edit the label", () => this.edit());
    edit.classList.add("quiet");
    const facts = [
      evidence.activation_frequency === null
        ? ""
        : `active on ${formatPercent(evidence.activation_frequency) || "0%"} of tokens`,
      evidence.act_max === null ? "" : `largest ${formatNumber(evidence.act_max)}`,
    ].filter(Boolean);
    const density = element("p", { class: "facts" }, facts.join(" · ") || (evidence.missing.density ?? ""));
    density.title = SOURCES[evidence.sources.density ?? ""] ?? "";
    this.head.replaceChildren(element("code", {}, nameOf(evidence)), title, edit, density);
  }

  private edit(): void {
    const { evidence } = this;
    if (!evidence) return;
    const { input } = labelField(this.label(), (label) => {
      if (label !== null) {
        this.labels = { ...this.labels, [nameOf(evidence)]: label };
        this.callbacks.onLabel(nameOf(evidence), label);
      }
      this.showHead();
    });
    this.head.replaceChildren(element("code", {}, nameOf(evidence)), input);
    input.focus();
    input.select();
  }

  private point(token: TokenData | null): void {
    this.activations?.mark(token?.activation ?? null);
    this.logits?.mark(token?.weight ?? null);
  }

  private trySection(): HTMLElement[] {
    if (!this.options.canTry) return [];
    return [section("Try a text", "", this.tryInput, this.tried)];
  }

  private tryNow(): void {
    const { evidence } = this;
    const text = this.tryInput.value;
    if (!evidence || !this.options.canTry) return;
    if (!text.trim()) {
      this.live.drop();
      this.tried.replaceChildren();
      return;
    }
    this.live.ask({ feature: nameOf(evidence), text });
  }

  private showLive(seen: LiveData): void {
    const tokens = tokensOf(seen.tokens, seen.activations, seen.weights);
    const most = Math.max(0, ...seen.activations);
    const largest = Math.max(this.evidence?.act_max ?? 0, most);
    const at = tokens.find((token) => token.activation === most);
    const said =
      most > 0 && at ? `largest ${formatNumber(most)} at ${listed(at.text)}` : "not active on this text";
    this.tried.replaceChildren(
      wholeText(tokens, largest, (token) => this.point(token)),
      element("p", { class: "hint" }, said),
    );
  }

  private examples(evidence: EvidenceData): HTMLElement {
    const largest =
      evidence.act_max ??
      Math.max(
        0,
        ...evidence.examples_quantiles.flatMap((q) => q.examples.flatMap((e) => e.tokens_acts_list)),
      );
    const parts = evidence.examples_quantiles.map(({ quantile_name, examples }) => [
      element("h5", {}, quantile_name === "Top" ? "Top" : visible(quantile_name)),
      element(
        "ul",
        { class: "examples" },
        ...examples.map((example) => exampleRow(example, largest, (token) => this.point(token))),
      ),
    ]);
    const missing = evidence.missing.examples;
    const note = [evidence.note, missing === evidence.note ? "" : missing].filter(Boolean).join(" ");
    return section("Examples", "", element("p", { class: "hint note" }, note), ...parts.flat());
  }

  private outputs(evidence: EvidenceData): HTMLElement {
    const weights = [...evidence.top_logit_weights, ...evidence.bottom_logit_weights];
    const largest = Math.max(1e-12, ...weights.map((weight) => Math.abs(weight ?? 0)));
    const column = (title: string, tokens: string[], values: (number | null)[]) =>
      element(
        "div",
        {},
        element("h5", {}, title),
        element(
          "ol",
          { class: "tokens" },
          ...tokens.map((token, at) => {
            const weight = values[at] ?? null;
            const row = element(
              "li",
              { tabindex: "0" },
              element("span", { class: "name" }, listed(token)),
              ...(weight === null ? [] : [bar(weight / largest)]),
              element("span", { class: "weight" }, formatSigned(weight)),
            );
            const on = () => this.logits?.mark(weight);
            const off = () => this.logits?.mark(null);
            row.addEventListener("pointerenter", on);
            row.addEventListener("pointerleave", off);
            row.addEventListener("focus", on);
            row.addEventListener("blur", off);
            return row;
          }),
        ),
      );
    if (!evidence.top_logits.length && !evidence.bottom_logits.length)
      return section("Output tokens", "", missingText(evidence, "promoted"));
    if (evidence.logit_histogram.length)
      this.logits = new HistogramView(
        "weights on all tokens",
        evidence.logit_histogram,
        evidence.logit_histogram_edges,
        "tokens",
      );
    return section(
      "Output tokens",
      SOURCES[evidence.sources.promoted ?? ""] ?? "",
      element(
        "div",
        { class: "two" },
        column("promoted", evidence.top_logits, evidence.top_logit_weights),
        column("suppressed", evidence.bottom_logits, evidence.bottom_logit_weights),
      ),
      ...(this.logits ? [this.logits.box] : [missingText(evidence, "logit_histogram")]),
    );
  }

  private histogram(evidence: EvidenceData): HTMLElement {
    const source = SOURCES[evidence.sources.activation_histogram ?? ""] ?? "";
    if (!evidence.histogram.length)
      return section("Activations", source, missingText(evidence, "activation_histogram"));
    this.activations = new HistogramView(
      "where it is active",
      evidence.histogram,
      evidence.histogram_edges,
      "tokens",
    );
    return section("Activations", source, this.activations.box);
  }

  private neighbours(evidence: EvidenceData, title: string, part: "reads_from" | "writes_to"): HTMLElement {
    const rows = evidence[part];
    if (!rows.length) return section(title, "", missingText(evidence, part));
    const largest = Math.max(1e-12, ...rows.map((row) => Math.abs(row.weight)));
    const list = element(
      "ol",
      { class: `neighbours ${part}` },
      ...rows.map((row) => this.neighbour(row, largest)),
    );
    const inGraph = rows.some((row) => this.options.here?.includes(nameOf(row)));
    const made = section(title, "by virtual weight", list);
    if (inGraph) made.querySelector("small")?.append(element("i", { class: "dot" }), "in the linked graph");
    return made;
  }

  private neighbour(row: NeighbourData, largest: number): HTMLElement {
    const name = nameOf(row);
    const label = visible(this.labels[name] || row.label);
    const button = element(
      "button",
      { type: "button", class: "row", "data-feature": name, title: `Go to ${name}` },
      element("span", { class: label ? "name" : "name none" }, label || "no label"),
      element("span", { class: "place" }, name),
      bar(row.weight / largest),
      element("span", { class: "weight" }, formatSigned(row.weight)),
    );
    if (this.options.here?.includes(name)) {
      button.classList.add("here");
      button.title += ", a node of the linked graph";
    }
    button.addEventListener("click", () => this.go(name));
    return element("li", {}, button);
  }

  private button(path: string, title: string, act: () => void): HTMLButtonElement {
    const made = element("button", { type: "button", class: "icon", title, "aria-label": title }, icon(path));
    made.addEventListener("click", act);
    return made;
  }
}

function section(title: string, source: string, ...children: HTMLElement[]): HTMLElement {
  return element("section", {}, element("h4", {}, title, element("small", {}, source)), ...children);
}

function missingText(evidence: EvidenceData, part: string): HTMLElement {
  return element("p", { class: "hint" }, evidence.missing[part] ?? "Not known yet.");
}

function hints(): HTMLElement {
  return element(
    "p",
    { class: "hint lead" },
    "Click a feature in the linked graph, or go to one by its name or label.",
  );
}
