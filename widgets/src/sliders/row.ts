// One row: name, slider, number, scale, place.

import { element } from "../shared/dom";
import { formatNumber } from "../shared/numbers";
import { icon } from "../shared/svg";
import {
  type Amount,
  amountOf,
  amountText,
  fraction,
  otherScale,
  parseAmount,
  type RowInfo,
  type Setting,
  type Span,
  spanOf,
  tidy,
  type Where,
} from "./state";

export interface RowEvents {
  /** A drag, or another change of the amount, begins. */
  onGesture(): void;
  onAmount(name: string, amount: Amount): void;
  onWhere(name: string, where: Where): void;
  onRemove(name: string): void;
}

const CROSS = "M4.5 4.5 11.5 11.5 M11.5 4.5 4.5 11.5";
const MOST_PLACES = 200;
/** Milliseconds between two key presses of one gesture. */
const PAUSE = 800;
const KINDS = { supernode: "group", label: "label", feature: "feature", node: "node" } as const;

export class RowView {
  readonly root: HTMLElement;
  private readonly slider = element("input", { type: "range", class: "amount" });
  private readonly fill = element("i", { class: "fill" });
  private readonly zero = element("i", { class: "mark zero" });
  private readonly rest = element("i", { class: "mark rest" });
  private readonly number = element("input", { type: "text", class: "number", inputmode: "decimal" });
  private readonly scale = element("button", { type: "button", class: "scale" });
  private readonly where = element("select", { class: "where" });
  private readonly title = element("b", { dir: "auto" });
  private readonly detail = element("small", {});
  private amount: Amount = { value: 1, absolute: false };
  private lastPress = Number.NEGATIVE_INFINITY;

  constructor(
    private info: RowInfo,
    prompt: readonly string[],
    private readonly events: RowEvents,
  ) {
    const remove = element("button", { type: "button", class: "quiet icon remove" }, icon(CROSS));
    const rail = element("div", { class: "rail" }, this.zero, this.rest, this.fill, this.slider);
    const name = element("div", { class: "name" }, this.title, this.detail);
    this.root = element(
      "li",
      { class: `row ${info.kind}` },
      name,
      rail,
      this.number,
      this.scale,
      this.where,
      remove,
    );
    this.root.dataset.name = info.name;
    this.slider.setAttribute("aria-label", `${info.title}: amount`);
    this.number.setAttribute("aria-label", `${info.title}: amount, as a number`);
    this.where.setAttribute("aria-label", `${info.title}: where`);
    remove.setAttribute("aria-label", `Remove ${info.title}`);
    remove.title = "Remove this row";
    this.slider.addEventListener("pointerdown", () => this.events.onGesture());
    this.slider.addEventListener("keydown", () => this.pressed());
    this.slider.addEventListener("input", () => this.set(tidy(Number(this.slider.value))));
    this.root.addEventListener("dblclick", (event) => {
      if (event.target !== this.slider) return;
      this.events.onGesture();
      this.set(spanOf(this.info, this.amount.absolute).rest);
    });
    this.number.addEventListener("change", () => this.typed());
    this.number.addEventListener("keydown", (event) => {
      if (event.key === "Enter") this.typed();
    });
    this.scale.addEventListener("click", () => {
      this.events.onGesture();
      this.change(otherScale(this.info, this.amount));
    });
    this.where.addEventListener("change", () => this.events.onWhere(this.info.name, this.place()));
    remove.addEventListener("click", () => this.events.onRemove(this.info.name));
    this.offerPlaces(prompt);
  }

  show(info: RowInfo, setting: Setting): void {
    this.info = info;
    this.title.textContent = info.title;
    this.detail.textContent = `${KINDS[info.kind]} · ${info.detail}`;
    this.root.title = info.vector ? info.name : `${info.name}: own activation ${formatNumber(info.own)}`;
    this.scale.disabled = info.vector;
    this.where.disabled = info.vector;
    this.where.value = String(setting.where[info.name] ?? "own");
    this.draw(amountOf(setting, info));
  }

  private set(value: number): void {
    this.change({ ...this.amount, value });
  }

  private change(amount: Amount): void {
    this.draw(amount);
    this.events.onAmount(this.info.name, amount);
  }

  /** Keys pressed in quick succession are one gesture. */
  private pressed(): void {
    const now = performance.now();
    if (now - this.lastPress > PAUSE) this.events.onGesture();
    this.lastPress = now;
  }

  private typed(): void {
    const value = parseAmount(this.number.value);
    if (value === null) {
      this.number.classList.add("wrong");
    } else if (value !== this.amount.value) {
      this.events.onGesture();
      this.set(value);
    } else this.draw(this.amount);
  }

  private draw(amount: Amount): void {
    this.amount = amount;
    const span = spanOf(this.info, amount.absolute);
    for (const name of ["min", "max", "step"] as const) this.slider[name] = String(span[name]);
    this.slider.value = String(amount.value);
    this.slider.setAttribute("aria-valuetext", this.describe(amount));
    this.number.value = amountText(amount.value);
    this.number.classList.remove("wrong");
    this.scale.textContent = amount.absolute ? "value" : "times";
    this.scale.title = amount.absolute
      ? "An activation. Click for multiples of its own"
      : `Multiples of its own activation, ${formatNumber(this.info.own)}. Click for an absolute value`;
    this.scale.setAttribute("aria-pressed", String(amount.absolute));
    this.marks(amount, span);
  }

  private describe({ value, absolute }: Amount): string {
    if (absolute) return `activation ${amountText(value)}`;
    return value === 0 ? "ablated" : `${amountText(value)} times its own`;
  }

  private marks({ value, absolute }: Amount, span: Span): void {
    const [at, rest] = [fraction(value, span), fraction(span.rest, span)];
    place(this.zero, fraction(0, span));
    place(this.rest, rest);
    this.fill.style.left = along(Math.min(at, rest));
    this.fill.style.width = `calc((100% - 14px) * ${Math.abs(at - rest)})`;
    const changed = absolute || value !== span.rest;
    this.root.classList.toggle("changed", changed);
    this.root.classList.toggle("less", changed && value < span.rest);
  }

  private place(): Where {
    const { value } = this.where;
    return value === "own" || value === "all" || value === "generated" ? value : Number(value);
  }

  private offerPlaces(prompt: readonly string[]): void {
    const [first] = this.info.places;
    const own =
      this.info.kind === "node" && first !== undefined
        ? `at ${prompt[first] ?? ""} (${first})`
        : this.info.kind === "feature"
          ? "where active"
          : "own places";
    const choices: [string, string][] = [
      ["own", own],
      ["all", "all positions"],
      ["generated", "generated too"],
    ];
    prompt.slice(0, MOST_PLACES).forEach((token, pos) => {
      choices.push([String(pos), `${pos}: ${token}`]);
    });
    this.where.replaceChildren(...choices.map(([value, text]) => element("option", { value }, text)));
  }
}

function along(share: number): string {
  return `calc(7px + (100% - 14px) * ${share})`;
}

function place(mark: HTMLElement, share: number): void {
  mark.style.left = along(share);
}
