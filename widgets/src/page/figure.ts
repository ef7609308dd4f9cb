// Brings the figure to life: marks carry data-row and data-edge, positions and shapes are the server's.

import { factsOf } from "../graph/describe";
import type { Lit } from "../graph/highlight";
import { isArrow, nearest, type Place } from "../graph/navigate";
import type { GraphData } from "../shared/data";
import { element } from "../shared/dom";
import type { Selection } from "./selection";

export class Figure {
  private readonly svg: SVGSVGElement;
  private readonly marks: SVGGElement[];
  private readonly edges: SVGPathElement[];
  private readonly tip = element("div", { class: "tip", role: "tooltip", hidden: "" });
  private readonly graph: GraphData;
  private readonly selection: Selection;

  constructor(svg: SVGSVGElement, graph: GraphData, selection: Selection) {
    this.svg = svg;
    this.graph = graph;
    this.selection = selection;
    this.marks = [...svg.querySelectorAll<SVGGElement>("[data-row]")];
    this.edges = [...svg.querySelectorAll<SVGPathElement>("[data-edge]")];
    document.body.append(this.tip);
    for (const mark of this.marks) {
      const words = factsOf(graph, rowOf(mark)).map(([term, value]) => `${term} ${value}`);
      mark.setAttribute("role", "button");
      mark.setAttribute("aria-label", [graph.nodes.name[rowOf(mark)], ...words].join(", "));
      mark.setAttribute("tabindex", "-1");
    }
    this.marks.at(-1)?.setAttribute("tabindex", "0");
    this.listen();
  }

  /** Light up, dim the rest. */
  show(lit: Lit, pinned: number | null): void {
    this.svg.classList.toggle("focused", lit.nodes.size > 0);
    for (const mark of this.marks) {
      const row = rowOf(mark);
      mark.classList.toggle("lit", lit.nodes.has(row));
      mark.classList.toggle("centre", lit.centre.has(row));
      mark.classList.toggle("pinned", row === pinned);
      mark.setAttribute("aria-pressed", String(row === pinned));
    }
    for (const edge of this.edges) edge.classList.toggle("lit", lit.edges.has(Number(edge.dataset.edge)));
  }

  private listen(): void {
    const markOf = (event: Event): SVGGElement | null =>
      event.target instanceof Element ? event.target.closest<SVGGElement>("[data-row]") : null;
    const point = (event: Event) => this.point(event, markOf(event));
    this.svg.addEventListener("pointerover", point);
    this.svg.addEventListener("pointerleave", () => this.leave());
    this.svg.addEventListener("focusin", point);
    this.svg.addEventListener("focusout", () => this.leave());
    this.svg.addEventListener("click", (event) => {
      const mark = markOf(event);
      this.selection.pin(mark ? rowOf(mark) : null);
    });
    this.svg.addEventListener("keydown", (event) => {
      const mark = markOf(event);
      if (!mark) return;
      if (event.key === "Enter" || event.key === " ") {
        event.preventDefault();
        this.selection.pin(rowOf(mark));
      } else if (isArrow(event.key)) {
        event.preventDefault();
        const next = nearest(this.marks.map(placeOf), this.marks.indexOf(mark), event.key);
        if (next !== null) this.focusMark(next);
      }
    });
  }

  private focusMark(index: number): void {
    this.marks.forEach((mark, at) => {
      mark.setAttribute("tabindex", at === index ? "0" : "-1");
    });
    this.marks[index]?.focus();
  }

  private point(event: Event, mark: SVGGElement | null): void {
    const edge = event.target instanceof Element ? event.target.closest<SVGPathElement>("[data-edge]") : null;
    if (mark) {
      this.selection.point({ of: "node", node: rowOf(mark) });
      this.showTip(mark);
    } else if (edge) {
      this.selection.point({ of: "edge", edge: Number(edge.dataset.edge) });
      this.tip.hidden = true;
    } else {
      this.leave();
    }
  }

  private leave(): void {
    this.tip.hidden = true;
    this.selection.point(null);
  }

  private showTip(mark: SVGGElement): void {
    const row = rowOf(mark);
    const facts = factsOf(this.graph, row).flatMap(([term, value]) => [
      element("dt", {}, term),
      element("dd", {}, value),
    ]);
    this.tip.replaceChildren(
      element("strong", {}, this.graph.nodes.name[row] ?? ""),
      element("dl", {}, ...facts),
    );
    this.tip.hidden = false;
    const box = mark.getBoundingClientRect();
    const { offsetWidth: wide, offsetHeight: high } = this.tip;
    const room = document.documentElement.clientWidth - wide - 8;
    const left = Math.max(8, Math.min(box.left + box.width / 2 - wide / 2, room));
    const above = box.top - high - 8;
    this.tip.style.left = `${left}px`;
    this.tip.style.top = `${above > 8 ? above : box.bottom + 8}px`;
  }
}

function rowOf(mark: SVGGElement): number {
  return Number(mark.dataset.row);
}

function placeOf(mark: SVGGElement): Place {
  const box = mark.getBBox();
  return { x: box.x + box.width / 2, y: box.y + box.height / 2 };
}
