// Nodes, bands and layer names as SVG, by kind, as circuitlab/page/svg.py draws them.

import { svg } from "../shared/svg";
import type { Colours } from "../shared/theme";
import type { GraphModel } from "./model";
import type { Place } from "./place";
import type { Drawing } from "./sheet";

/** Nodes drawn before looking at the clock. */
const SLICE = 200;

/** Features and errors without a text as `nodeMark` shows them, on canvas, for graphs with thousands of nodes. */
export function* drawMarks(
  context: CanvasRenderingContext2D,
  model: GraphModel,
  place: Place,
  rows: readonly number[],
  colours: Colours,
): Drawing {
  for (let from = 0; from < rows.length; from += SLICE) {
    for (const row of rows.slice(from, from + SLICE)) {
      const [x, y, half] = [place.x[row]!, place.y[row]!, place.wide[row]! / 2];
      const isError = model.kindOf(row) === "error";
      context.beginPath();
      if (isError) {
        context.moveTo(x, y - half);
        context.lineTo(x + half, y);
        context.lineTo(x, y + half);
        context.lineTo(x - half, y);
        context.closePath();
      } else context.arc(x, y, half, 0, 2 * Math.PI);
      context.fillStyle = isError ? colours.box_fill : colours.node_fill;
      context.fill();
      context.strokeStyle = isError ? colours.muted : colours.node_line;
      context.lineWidth = isError ? 0.8 : 1.1;
      context.stroke();
    }
    yield;
  }
}

/** A node: its mark, the text in its box or the label beside it. */
export function nodeMark(model: GraphModel, place: Place, row: number, name: string | null): SVGGElement {
  const kind = model.kindOf(row);
  const group = svg("g", { class: `node ${kind}`, "data-row": row }, shapeOf(model, place, row));
  const chance = model.number("probability", row) ?? 0;
  if (kind === "logit" && chance > 0) {
    const tint = shapeOf(model, place, row);
    tint.setAttribute("class", "tint");
    tint.setAttribute("fill-opacity", String(Math.min(1, Math.sqrt(chance))));
    group.append(tint);
  }
  const lines = (place.text[row] ?? "").split("\n").filter(Boolean);
  const [x, y] = [place.x[row]!, place.y[row]!];
  lines.forEach((line, i) => {
    const at = y + (i - (lines.length - 1) / 2) * 1.15 * place.em;
    const text = svg("text", { x, y: at, class: i ? "boxed second" : "boxed" }, line);
    if (kind === "token" && place.rotation)
      text.setAttribute("transform", `rotate(${-place.rotation} ${x} ${at})`);
    group.append(text);
  });
  const label = labelOf(place, row, name);
  if (label) group.append(label);
  return group;
}

function shapeOf(model: GraphModel, place: Place, row: number): SVGElement {
  const [x, y, wide, high] = [place.x[row]!, place.y[row]!, place.wide[row]!, place.high[row]!];
  const kind = model.kindOf(row);
  if (kind === "feature") return svg("circle", { class: "mark", cx: x, cy: y, r: wide / 2 });
  if (kind === "error") {
    const half = wide / 2;
    const d = `M${x} ${y - half}L${x + half} ${y}L${x} ${y + half}L${x - half} ${y}Z`;
    return svg("path", { class: "mark", d });
  }
  const round = kind === "constant" ? 0 : 0.3 * place.em;
  return svg("rect", {
    class: "mark",
    x: x - wide / 2,
    y: y - high / 2,
    width: wide,
    height: high,
    rx: round,
  });
}

/** The label that the layout made room for, or the user's own in its place. */
function labelOf(place: Place, row: number, name: string | null): SVGTextElement | null {
  const laid = place.label[row];
  if (!laid) {
    if (!name) return null;
    const x = place.x[row]! + place.wide[row]! / 2 + 0.25 * place.em;
    return svg("text", { class: "label", x, y: place.y[row]! }, clip(name, 18));
  }
  const [text, x, y, anchor] = laid;
  const shown = name ? clip(name, Math.max([...text].length, 14)) : text;
  return svg("text", { class: "label", x, y, "text-anchor": anchor }, shown);
}

/** Columns, layer rules and names, under everything else. */
export function ground(place: Place): SVGGElement {
  const group = svg("g", { class: "ground" });
  const top = Math.min(...place.ticks.map(([, y]) => y), place.height / 2) - 1.4 * place.em;
  const [first, last] = [place.columns[0], place.columns.at(-1)];
  for (const [, left, right] of place.columns.filter((_, at) => at % 2 === 0))
    group.append(
      svg("rect", { class: "band", x: left, y: top, width: right - left, height: place.height - top, rx: 3 }),
    );
  for (const [, y, text] of place.ticks) {
    if (first && last) group.append(svg("path", { class: "rule", d: `M${first[1]} ${y}H${last[2]}` }));
    if (text) group.append(svg("text", { class: "tick", x: 0.3 * place.em, y }, text));
  }
  return group;
}

/** A ring around a node. */
export function ring(model: GraphModel, place: Place, row: number, name: string, gap = 3.5): SVGElement {
  const [x, y] = [place.x[row]!, place.y[row]!];
  const [wide, high] = [place.wide[row]! / 2 + gap, place.high[row]! / 2 + gap];
  const round = model.kindOf(row) === "feature" ? wide : 0.5 * place.em;
  return svg("rect", { class: name, x: x - wide, y: y - high, width: 2 * wide, height: 2 * high, rx: round });
}

export function clip(text: string, limit: number): string {
  return [...text].length <= limit
    ? text
    : `${[...text]
        .slice(0, limit - 1)
        .join("")
        .trimEnd()}…`;
}
