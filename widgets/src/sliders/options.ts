// What holds for all rows: how far effects are followed, whether attention is frozen, how long the continuation is.

import { element } from "../shared/dom";
import type { ModeInfo, Setting } from "./state";

export type OptionChange = Partial<Pick<Setting, "mode" | "end_layer" | "freeze_attention" | "n_tokens">>;

const LONGEST = 64;

export class OptionsView {
  readonly root: HTMLElement;
  private readonly mode = element("select", { class: "mode", "aria-label": "Mode" });
  private readonly layer = element("select", { class: "layer", "aria-label": "Up to layer" });
  private readonly says = element("p", { class: "says" });
  private readonly freeze = element(
    "button",
    { type: "button", title: "Hold the attention patterns of the unperturbed run" },
    "Freeze attention",
  );
  private readonly length = element("input", {
    type: "number",
    min: "0",
    max: String(LONGEST),
    class: "length",
    "aria-label": "Tokens of continuation",
  });
  private modes: ModeInfo[] = [];

  constructor(onChange: (change: OptionChange) => void) {
    const length = element("label", { class: "length-label" }, "Continue by", this.length, "tokens");
    this.root = element(
      "div",
      { class: "options" },
      element("span", { class: "joined" }, this.mode, this.layer),
      this.freeze,
      length,
      this.says,
    );
    this.mode.addEventListener("change", () => onChange({ mode: this.mode.value }));
    this.layer.addEventListener("change", () =>
      onChange({ end_layer: this.layer.value === "" ? null : Number(this.layer.value) }),
    );
    this.freeze.addEventListener("click", () =>
      onChange({ freeze_attention: this.freeze.getAttribute("aria-pressed") !== "true" }),
    );
    this.length.addEventListener("change", () => onChange({ n_tokens: bounded(Number(this.length.value)) }));
  }

  /** What there is to choose from. */
  offer(modes: ModeInfo[], layers: number): void {
    this.modes = modes;
    this.mode.replaceChildren(
      ...modes.map(({ name, says }) => element("option", { value: name, title: says }, name)),
    );
    const choices = Array.from({ length: layers }, (_, at) =>
      element("option", { value: String(at) }, `up to layer ${at}`),
    );
    this.layer.replaceChildren(element("option", { value: "" }, "up to the last layer set"), ...choices);
  }

  show({ mode, end_layer, freeze_attention, n_tokens }: Setting): void {
    this.mode.value = mode;
    this.layer.hidden = mode !== "constrained";
    this.layer.value = String(end_layer ?? "");
    this.says.textContent = this.modes.find(({ name }) => name === mode)?.says ?? "";
    this.freeze.setAttribute("aria-pressed", String(freeze_attention));
    this.length.value = String(n_tokens);
  }
}

function bounded(length: number): number {
  return Number.isFinite(length) ? Math.min(LONGEST, Math.max(0, Math.round(length))) : 0;
}
