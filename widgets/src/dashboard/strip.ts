// Tokens shaded by activation: a line centred on its peak, or a whole text.

import { element } from "../shared/dom";
import { formatNumber } from "../shared/numbers";
import { around, type ExampleData, shade, type TokenData, tokensOf, visible } from "./evidence";

const REACH = 60;
const MOST = 1500;

/** Called with the token that is pointed at, or null. */
export type Point = (token: TokenData | null) => void;

function tokenSpan(token: TokenData, largest: number, point: Point): HTMLElement {
  const span = element("span", { class: "token" }, visible(token.text));
  const share = shade(token.activation, largest);
  if (share > 0) {
    span.classList.add("active");
    span.style.setProperty("--share", share.toFixed(3));
    span.title = formatNumber(token.activation);
  }
  if (/[\n\r]/.test(token.text)) span.classList.add("break");
  span.addEventListener("pointerenter", () => point(token));
  span.addEventListener("pointerleave", () => point(null));
  return span;
}

/** A text with all of its tokens, lines broken where it breaks them. */
export function wholeText(tokens: TokenData[], largest: number, point: Point): HTMLElement {
  const spans = tokens.slice(0, MOST).flatMap((token) => {
    const span = tokenSpan(token, largest, point);
    return span.classList.contains("break") ? [span, element("br")] : [span];
  });
  const box = element("p", { class: "text", dir: "auto" }, ...spans);
  if (tokens.length > MOST)
    box.append(element("i", { class: "cut" }, ` … ${tokens.length - MOST} more tokens`));
  return box;
}

/** One example: its peak in the middle of the line; a click or Enter opens it. Arrow keys walk over its tokens. */
export function exampleRow(example: ExampleData, largest: number, point: Point): HTMLElement {
  const tokens = tokensOf(example.tokens, example.tokens_acts_list, example.tokens_logit_weights);
  const { before, peak, after, cutBefore, cutAfter } = around(tokens, example.train_token_ind, REACH);
  const line = (part: TokenData[]) => part.map((token) => tokenSpan(token, largest, point));
  const middle = tokenSpan(peak, largest, point);
  middle.classList.add("peak");
  const copies = example.copies ?? 1;
  const count = element("span", { class: "copies" }, copies > 1 ? `×${copies}` : "");
  if (copies > 1) count.title = `${copies} texts that agree up to here`;
  const centred = element(
    "div",
    { class: "line" },
    element("span", { class: "before" }, element("span", {}, cutBefore ? "…" : "", ...line(before))),
    middle,
    element("span", { class: "after" }, ...line(after), cutAfter ? "…" : ""),
  );
  const row = element(
    "li",
    {
      class: "example",
      tabindex: "0",
      "aria-expanded": "false",
      "aria-label": `${formatNumber(peak.activation)} at ${visible(peak.text)}: ${example.tokens.slice(0, 80).map(visible).join("")}`,
    },
    element("span", { class: "activation" }, formatNumber(peak.activation)),
    centred,
    count,
  );
  const toggle = () => {
    const open = row.getAttribute("aria-expanded") !== "true";
    row.setAttribute("aria-expanded", String(open));
    row.querySelector(".line, .text")?.replaceWith(open ? wholeText(tokens, largest, point) : centred);
  };
  row.addEventListener("click", () => {
    if (row.ownerDocument.getSelection()?.isCollapsed !== false) toggle();
  });
  row.addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      toggle();
    }
    walk(row, event, tokens, point);
  });
  row.addEventListener("focus", () => point(peak));
  row.addEventListener("blur", () => {
    row.dataset.at = "";
    for (const other of row.querySelectorAll(".at")) other.classList.remove("at");
    point(null);
  });
  row.dataset.peak = String(example.train_token_ind);
  return row;
}

/** Left and right move a cursor over the tokens, starting at the peak. */
function walk(row: HTMLElement, event: KeyboardEvent, tokens: TokenData[], point: Point): void {
  const step = event.key === "ArrowLeft" ? -1 : event.key === "ArrowRight" ? 1 : 0;
  if (!step || event.altKey) return;
  event.preventDefault();
  const spans = [...row.querySelectorAll<HTMLElement>(".token")];
  const peak = Number(row.dataset.peak);
  const first = row.querySelector(".line") ? Math.max(0, peak - REACH) : 0;
  const before = row.dataset.at ? Number(row.dataset.at) : peak;
  const at = Math.min(first + spans.length - 1, Math.max(first, before + step));
  row.dataset.at = String(at);
  for (const span of spans) span.classList.remove("at");
  spans[at - first]?.classList.add("at");
  point(tokens[at] ?? null);
}
