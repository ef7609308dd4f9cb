// What stands at a node or group whose activation an intervention changed: "−60%". Its sign is in the text and in the
// colour, its size in the text and in how strong the colour is.

import { element } from "../shared/dom";
import { svg } from "../shared/svg";

export interface Tone {
  /** "plain" for a badge that is no change, such as one that a user set. */
  sign: "up" | "down" | "plain";
  /** 0 to 1; a change by its whole value or more is 1. */
  strength: number;
}

export function toneOf(text: string): Tone {
  const found = /^([+−-])([\d.,]+)%$/.exec(text.trim());
  if (!found?.[1] || !found[2]) return { sign: "plain", strength: 0.5 };
  const size = Number(found[2].replaceAll(",", "")) / 100;
  return { sign: found[1] === "+" ? "up" : "down", strength: Math.min(1, size) };
}

/** A badge in the subgraph's boxes. */
export function groupBadge(text: string): HTMLElement {
  const { sign, strength } = toneOf(text);
  const made = element("b", { class: `badge ${sign}` }, text);
  made.style.setProperty("--strength", strength.toFixed(2));
  if (sign !== "plain") made.title = `An intervention changes its activation by ${text}`;
  return made;
}

/** A badge that ends at x, its middle at the height y; sizes in the drawing's em. Labels stand on a node's other side. */
export function nodeBadge(text: string, x: number, y: number, em: number): SVGGElement {
  const { sign, strength } = toneOf(text);
  const [wide, high] = [(0.5 * [...text].length + 0.5) * em, 1.06 * em];
  const pill = svg("rect", { x: x - wide, y: y - high / 2, width: wide, height: high, rx: 0.3 * em });
  const middle = { x: x - wide / 2, y: y + 0.27 * em };
  const made = svg("g", { class: `badge ${sign}` }, pill, svg("text", middle, text));
  made.style.setProperty("--strength", strength.toFixed(2));
  return made;
}
