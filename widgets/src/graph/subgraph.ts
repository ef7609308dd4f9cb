// The user's own small graph: pinned nodes and supernodes as boxes that can be dragged, with summed edges.

import { element, shownText } from "../shared/dom";
import { formatSigned } from "../shared/numbers";
import { svg } from "../shared/svg";
import type { Colours } from "../shared/theme";
import { bondsOf, placesOf, type Unit, unitsOf } from "./groups";
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
const MOST_BONDS = 60;

export class Subgraph {
  readonly box = element("section", {
    class: "subgraph",
    "aria-label": "Subgraph of pinned nodes and groups",
  });
  private readonly lines = svg("svg", {});
  private readonly units: Unit[] = [];
  private places: [number, number][] = [];
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
    this.places = placesOf(this.model, this.units, state);
    this.boxes = this.units.map((unit, at) => this.makeBox(unit, at, clicked, badges));
    this.box.replaceChildren(this.lines, ...this.boxes);
    this.arrange();
    return this.units.length > 0;
  }

  arrange(): void {
    const { clientWidth, clientHeight } = this.box;
    this.boxes.forEach((box, at) => {
      const [x, y] = this.pixels(at, clientWidth, clientHeight);
      box.style.left = `${x}px`;
      box.style.top = `${y}px`;
    });
    this.drawLines();
  }

  private pixels(at: number, wide: number, high: number): [number, number] {
    const [x, y] = this.places[at] ?? [0.5, 0.5];
    return [MARGIN_X + x * Math.max(1, wide - 2 * MARGIN_X), MARGIN_Y + y * Math.max(1, high - 2 * MARGIN_Y)];
  }

  private drawLines(): void {
    const { clientWidth: wide, clientHeight: high } = this.box;
    const bonds = bondsOf(this.model, this.units).slice(0, MOST_BONDS);
    const largest = Math.abs(bonds[0]?.weight ?? 1) || 1;
    const drawn = bonds.map(({ source, target, weight }) => {
      const [a, b] = [this.pixels(source, wide, high), this.pixels(target, wide, high)];
      const strength = Math.sqrt(Math.abs(weight) / largest);
      const bend = Math.max(18, 0.4 * Math.abs(a[1] - b[1]));
      const d = `M${a[0]} ${a[1] - 13}C${a[0]} ${a[1] - 13 - bend} ${b[0]} ${b[1] + 17 + bend} ${b[0]} ${b[1] + 17}`;
      const width = 0.8 + 3.4 * strength;
      const line = svg("path", {
        d,
        fill: "none",
        stroke: weight < 0 ? this.colours.negative : this.colours.positive,
        "stroke-width": width,
        "stroke-opacity": 0.18 + 0.62 * strength,
      });
      if (weight < 0) line.setAttribute("stroke-dasharray", `${2.2 * width} ${1.4 * width}`);
      const title = svg(
        "title",
        {},
        `${this.title(source)} → ${this.title(target)}: ${formatSigned(weight)}`,
      );
      line.append(title);
      const parts: SVGElement[] = [line];
      if (strength > 0.35) {
        const text = svg("text", { x: (a[0] + b[0]) / 2 + 5, y: (a[1] + b[1]) / 2 }, formatSigned(weight));
        parts.push(text);
      }
      return parts;
    });
    this.lines.replaceChildren(...drawn.flat());
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
    if (badge) box.append(element("b", { class: "badge" }, badge));
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
    box.addEventListener("pointerenter", () => this.events.onHover(unit.rows));
    box.addEventListener("pointerleave", () => this.events.onHover(null));
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
      const { clientWidth, clientHeight } = this.box;
      this.places[at] = [
        within(start.place[0] + dx / Math.max(1, clientWidth - 2 * MARGIN_X)),
        within(start.place[1] + dy / Math.max(1, clientHeight - 2 * MARGIN_Y)),
      ];
      this.arrange();
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
