// The user's own small graph: pinned nodes and supernodes as boxes that can be dragged, with summed edges.

import { element, shownText } from "../shared/dom";
import { svg } from "../shared/svg";
import type { Colours } from "../shared/theme";
import { arranged } from "./arrange";
import { groupBadge } from "./badges";
import { drawBonds, type Spot } from "./bonds";
import { type Bond, bondsOf, boxOf, type Unit, unitsOf } from "./groups";
import type { GraphModel } from "./model";
import type { ViewState } from "./state";

export interface SubgraphEvents {
  name(row: number): string;
  onClick(unit: Unit): void;
  onHover(rows: readonly number[] | null): void;
  onMove(key: string, at: [number, number]): void;
  onRename(from: string, to: string): void;
  onUngroup(name: string): void;
  onUnpin(id: string): void;
}

const [MARGIN_X, MARGIN_Y] = [70, 26];
/** Of the panel's sides, for boxes that nobody has moved. */
const INSET = 14;
const HIGH = 28;

export class Subgraph {
  readonly box = element("section", {
    class: "subgraph",
    "aria-label": "Subgraph of pinned nodes and groups",
  });
  private readonly lines = svg("svg", {});
  private readonly units: Unit[] = [];
  private places: [number, number][] = [];
  private bonds: Bond[] = [];
  private fixed: ViewState["positions"] = {};
  private pointed: number | null = null;
  private needed = 0;
  private boxes: HTMLElement[] = [];
  private colours: Colours;
  private dragging = false;
  private renaming = false;

  constructor(
    private readonly model: GraphModel,
    colours: Colours,
    private readonly events: SubgraphEvents,
  ) {
    this.colours = colours;
  }

  paint(colours: Colours): void {
    this.colours = colours;
    this.drawLines();
  }

  /** Gives whether there is anything to show. */
  show(state: ViewState, clicked: number | null, badges: ReadonlyMap<string, string>): boolean {
    if (this.dragging || this.renaming) return true;
    this.units.splice(0, this.units.length, ...unitsOf(this.model, state));
    this.bonds = bondsOf(this.model, this.units);
    this.fixed = state.positions;
    this.pointed = null;
    this.boxes = this.units.map((unit, at) => this.makeBox(unit, at, clicked, badges));
    this.box.replaceChildren(this.lines, ...this.boxes);
    this.arrange();
    return this.units.length > 0;
  }

  /** Place the boxes for the panel's size; those that the user moved stand where they were put. */
  arrange(): void {
    const { clientWidth } = this.box;
    if (clientWidth && !this.dragging) {
      const sized = this.units.map((unit, at) =>
        boxOf(this.model, unit, this.boxes[at]?.offsetWidth ?? 0, HIGH),
      );
      const near = Math.max(0.75, 0.06 * this.model.strings.n_layers);
      const { at, high } = arranged(sized, this.bonds, clientWidth - 2 * INSET, near);
      const share = (x: number) => (x + INSET - MARGIN_X) / Math.max(1, clientWidth - 2 * MARGIN_X);
      const free = high > HIGH ? high - HIGH : 0;
      this.needed = high + 2 * MARGIN_Y - HIGH;
      this.box.style.flexBasis = `min(46%, ${Math.max(120, this.needed)}px)`;
      this.places = this.units.map(
        ({ key }, i): [number, number] =>
          this.fixed[key] ?? [share(at[i]![0]), free ? (at[i]![1] - HIGH / 2) / free : 0.5],
      );
    }
    this.put();
  }

  private put(): void {
    this.boxes.forEach((box, at) => {
      const [x, y] = this.pixels(at);
      box.style.left = `${x}px`;
      box.style.top = `${y}px`;
    });
    this.drawLines();
  }

  private pixels(at: number): [number, number] {
    const [x, y] = this.places[at] ?? [0.5, 0.5];
    return [MARGIN_X + x * Math.max(1, this.box.clientWidth - 2 * MARGIN_X), MARGIN_Y + y * this.travel];
  }

  /** Pixels from the highest to the lowest place; where rows need more than the panel has, it scrolls. */
  private get travel(): number {
    return Math.max(1, Math.max(this.box.clientHeight, this.needed) - 2 * MARGIN_Y);
  }

  private drawLines(): void {
    this.lines.style.height = `${this.travel + 2 * MARGIN_Y}px`;
    const spots = this.boxes.map((box, at): Spot => {
      const [x, y] = this.pixels(at);
      return { x, y, wide: box.offsetWidth, high: HIGH, title: this.title(at) };
    });
    this.lines.replaceChildren(...drawBonds(spots, this.bonds, this.colours, this.pointed));
  }

  private point(at: number | null): void {
    if (this.dragging || this.pointed === at) return;
    this.pointed = at;
    this.drawLines();
  }

  private title(at: number): string {
    const unit = this.units[at];
    if (!unit) return "";
    return unit.isGroup ? shownText(unit.key) : this.events.name(unit.rows[0] ?? 0);
  }

  private makeBox(
    unit: Unit,
    at: number,
    clicked: number | null,
    badges: ReadonlyMap<string, string>,
  ): HTMLElement {
    const name = element("span", { class: "unit-name" }, this.title(at));
    const kind = unit.isGroup ? "group" : this.model.kindOf(unit.rows[0] ?? 0);
    const box = element(
      "div",
      { class: `unit ${kind}`, "data-key": unit.key, tabindex: "0", role: "button" },
      name,
    );
    if (unit.isGroup) box.append(element("small", {}, String(unit.rows.length)));
    const badge = badges.get(unit.key);
    if (badge) box.append(groupBadge(badge));
    if (clicked !== null && unit.rows.includes(clicked)) box.classList.add("clicked");
    const away = unit.isGroup ? `Ungroup ${unit.key}` : "Unpin";
    const close = element(
      "button",
      { type: "button", class: "quiet away", "aria-label": away, title: away },
      "×",
    );
    close.addEventListener("pointerdown", (event) => event.stopPropagation());
    close.addEventListener("click", () =>
      unit.isGroup ? this.events.onUngroup(unit.key) : this.events.onUnpin(unit.key),
    );
    box.append(close);
    if (unit.isGroup) {
      box.title = "Double-click to rename";
      box.addEventListener("dblclick", () => this.rename(unit.key, name));
    }
    box.addEventListener("pointerenter", () => {
      this.point(at);
      this.events.onHover(unit.rows);
    });
    box.addEventListener("pointerleave", () => {
      this.point(null);
      this.events.onHover(null);
    });
    box.addEventListener("keydown", (event) => {
      if (event.target !== box) return;
      if (event.key === "Enter") this.events.onClick(unit);
      if (event.key === "F2" && unit.isGroup) this.rename(unit.key, name);
    });
    this.makeMovable(box, unit, at);
    return box;
  }

  /** Edit a group's name in place; also called when a group has just been made. */
  rename(key: string, name?: HTMLElement): void {
    const box = this.boxes[this.units.findIndex((unit) => unit.key === key)];
    const shown = name ?? box?.querySelector<HTMLElement>(".unit-name");
    if (!shown) return;
    const input = element("input", { type: "text", class: "rename", "aria-label": "Name of the group" });
    input.value = key;
    let open = true;
    const close = (keep: boolean) => {
      if (!open) return;
      open = this.renaming = false;
      input.replaceWith(shown);
      if (keep && input.value.trim() && input.value.trim() !== key)
        this.events.onRename(key, input.value.trim());
    };
    input.addEventListener("pointerdown", (event) => event.stopPropagation());
    input.addEventListener("keydown", (event) => {
      event.stopPropagation();
      if (event.key === "Enter" || event.key === "Escape") close(event.key === "Enter");
    });
    input.addEventListener("blur", () => close(true));
    this.renaming = true;
    shown.replaceWith(input);
    input.focus();
    input.select();
  }

  private makeMovable(box: HTMLElement, unit: Unit, at: number): void {
    let start: { x: number; y: number; place: [number, number]; moved: boolean } | null = null;
    box.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      box.setPointerCapture(event.pointerId);
      start = {
        x: event.clientX,
        y: event.clientY,
        place: [...(this.places[at] ?? [0.5, 0.5])],
        moved: false,
      };
    });
    box.addEventListener("pointermove", (event) => {
      if (!start) return;
      const [dx, dy] = [event.clientX - start.x, event.clientY - start.y];
      if (!start.moved && Math.hypot(dx, dy) < 4) return;
      start.moved = this.dragging = true;
      this.places[at] = [
        within(start.place[0] + dx / Math.max(1, this.box.clientWidth - 2 * MARGIN_X)),
        within(start.place[1] + dy / this.travel),
      ];
      this.put();
    });
    const end = (event: PointerEvent) => {
      const was = start;
      start = null;
      this.dragging = false;
      if (was?.moved) this.events.onMove(unit.key, this.places[at] ?? [0.5, 0.5]);
      else if (was && event.type === "pointerup") this.events.onClick(unit);
    };
    box.addEventListener("pointerup", end);
    box.addEventListener("pointercancel", end);
  }
}

function within(value: number): number {
  return Math.round(1e4 * Math.min(1, Math.max(0, value))) / 1e4;
}
