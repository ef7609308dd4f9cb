// A small histogram with a marker for the value that is pointed at.

import { element } from "../shared/dom";
import { formatCount, formatNumber } from "../shared/numbers";
import { svg } from "../shared/svg";
import { heights, place } from "./evidence";

const [WIDTH, HEIGHT] = [320, 56];

export class HistogramView {
  readonly box: HTMLElement;
  private readonly marker = svg("line", { class: "marker", y1: 0, y2: HEIGHT, visibility: "hidden" });
  private readonly readout = element("output", { class: "readout" });

  constructor(
    title: string,
    counts: readonly number[],
    private readonly edges: readonly number[],
    described: string,
  ) {
    const total = counts.reduce((sum, count) => sum + count, 0);
    const wide = WIDTH / counts.length;
    const bars = heights(counts).map((height, at) => {
      const middle = ((edges[at] ?? 0) + (edges[at + 1] ?? 0)) / 2;
      const high = counts[at] ? Math.max(1.5, height * (HEIGHT - 4)) : 0;
      return svg("rect", {
        class: middle < 0 ? "negative" : "positive",
        x: at * wide + 0.5,
        y: HEIGHT - high,
        width: Math.max(0.6, wide - 1),
        height: high,
      });
    });
    const zero = place(0, edges);
    const drawing = svg("svg", {
      viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
      preserveAspectRatio: "none",
      role: "img",
      "aria-label": `${title}: ${formatCount(total)} ${described}, from ${formatNumber(edges[0] ?? 0)} to ${formatNumber(edges.at(-1) ?? 0)}`,
    });
    drawing.append(svg("line", { class: "axis", x1: 0, x2: WIDTH, y1: HEIGHT, y2: HEIGHT }), ...bars);
    if (zero !== null && zero > 0.001)
      drawing.append(svg("line", { class: "zero", x1: zero * WIDTH, x2: zero * WIDTH, y1: 0, y2: HEIGHT }));
    drawing.append(this.marker);
    const ends = element(
      "div",
      { class: "ends" },
      element("span", {}, formatNumber(edges[0] ?? 0)),
      element("span", {}, `${formatCount(total)} ${described}, log scale`),
      element("span", {}, formatNumber(edges.at(-1) ?? 0)),
    );
    this.box = element("div", { class: "histogram" }, element("h5", {}, title, this.readout), drawing, ends);
  }

  /** Show where a value stands; null takes the marker away. */
  mark(value: number | null): void {
    const share = place(value, this.edges);
    this.marker.setAttribute("visibility", share === null ? "hidden" : "visible");
    this.readout.textContent = value === null ? "" : formatNumber(value) || "0";
    if (share === null) return;
    this.marker.setAttribute("x1", String(share * WIDTH));
    this.marker.setAttribute("x2", String(share * WIDTH));
  }
}
