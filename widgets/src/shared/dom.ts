// Elements from text only: nothing here parses HTML, so a label stays a label whatever it contains.

type Child = Node | string;
const SVG = "http://www.w3.org/2000/svg";

/** An element with these attributes and children; strings become text nodes. */
export function element<Name extends keyof HTMLElementTagNameMap>(
  name: Name,
  attributes: Record<string, string> = {},
  ...children: Child[]
): HTMLElementTagNameMap[Name] {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

/** The element with this id; the page and its script come from one file, so a missing one is a defect. */
export function byId(id: string): HTMLElement {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no element #${id}`);
  return found;
}

/** A small horizontal bar: `share` from -1 to 1, negative ones drawn in the negative colour. */
export function bar(share: number): SVGSVGElement {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", `bar ${share < 0 ? "negative" : "positive"}`);
  svg.setAttribute("viewBox", "0 0 100 6");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  const rect = document.createElementNS(SVG, "rect");
  rect.setAttribute("width", String(Math.min(100, Math.round(1000 * Math.abs(share)) / 10)));
  rect.setAttribute("height", "6");
  svg.append(rect);
  return svg;
}

/** A stranger's text as it can be shown: no control or direction characters, and no longer than anyone reads. */
export function shownText(text: string, limit = 400): string {
  const start = [...text.slice(0, 2 * limit)].slice(0, limit).join("");
  const shown = start.replaceAll("\n", "⏎").replaceAll("\t", "⇥").replaceAll("\r", "␍");
  return shown.replace(/[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}]/gu, "·") + (text.length > 2 * limit ? "…" : "");
}
