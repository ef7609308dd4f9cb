// Before and after: next tokens as paired bars, the continuation, what is left of other groups.

import { element } from "../shared/dom";
import { chanceText, type GroupPair, pointsText, type Result, shareText, type TokenPair } from "./state";

/** The right-hand panel; elements are kept from one result to the next, so that bars move instead of flickering. */
export class ResultsView {
  readonly root: HTMLElement;
  private readonly tokens = element("ol", { class: "tokens" });
  private readonly groups = element("ol", { class: "groups" });
  private readonly left = element("section", { class: "left" });
  private readonly text = element("section", { class: "text" });
  private readonly before = element("q", { class: "before" });
  private readonly after = element("q", { class: "after" });

  constructor() {
    const legend = element(
      "header",
      { class: "legend" },
      element("h4", {}, "Next token"),
      element("span", { class: "key before" }, "before"),
      element("span", { class: "key after" }, "after"),
      element("span", { class: "key points", title: "In percentage points" }, "change"),
    );
    this.text.append(
      element("h4", {}, "Continuation"),
      line("before", this.before),
      line("after", this.after),
    );
    this.left.append(element("h4", {}, "Activation left"), this.groups);
    this.root = element(
      "div",
      { class: "results" },
      element("section", {}, legend, this.tokens),
      this.text,
      this.left,
    );
    this.show({});
  }

  show(result: Result): void {
    fill(this.tokens, result.tokens ?? [], tokenItem, showToken);
    fill(this.groups, result.groups ?? [], groupItem, showGroup);
    this.left.hidden = !result.groups?.length;
    const { continuation } = result;
    this.text.hidden = !continuation && !result.pending;
    this.text.classList.toggle("pending", Boolean(result.pending));
    if (this.before.textContent !== (continuation?.before ?? ""))
      this.before.textContent = continuation?.before ?? "";
    this.after.textContent = continuation?.after ?? "…";
    this.after.classList.toggle(
      "differs",
      Boolean(continuation) && continuation?.before !== continuation?.after,
    );
  }

  /** Numbers that belong to an older state. */
  setStale(stale: boolean): void {
    this.root.classList.toggle("stale", stale);
  }
}

function line(name: string, text: HTMLElement): HTMLElement {
  return element("p", {}, element("span", { class: "muted" }, name), text);
}

function fill<Item>(
  list: HTMLElement,
  items: readonly Item[],
  make: () => HTMLElement,
  show: (made: HTMLElement, item: Item) => void,
): void {
  while (list.children.length > items.length) list.lastElementChild?.remove();
  while (list.children.length < items.length) list.append(make());
  items.forEach((item, at) => {
    show(list.children[at] as HTMLElement, item);
  });
}

function tokenItem(): HTMLElement {
  return element(
    "li",
    {},
    element("span", { class: "token", dir: "auto" }),
    element("span", { class: "pair" }, element("i", { class: "before" }), element("i", { class: "after" })),
    element("span", { class: "number before" }),
    element("span", { class: "number after" }),
    element("span", { class: "number points" }),
  );
}

function showToken(item: HTMLElement, { token, before, after }: TokenPair): void {
  const [name, pair, first, second, points] = [...item.children] as HTMLElement[];
  if (!name || !pair || !first || !second || !points) return;
  name.textContent = token.trim() || "␣";
  name.title = token;
  width(pair.children[0], before ?? 0);
  width(pair.children[1], after ?? 0);
  first.textContent = chanceText(before);
  second.textContent = chanceText(after);
  points.textContent = pointsText(before, after);
  const change = (after ?? 0) - (before ?? 0);
  points.classList.toggle("up", change >= 0.0005);
  points.classList.toggle("down", change <= -0.0005);
}

function groupItem(): HTMLElement {
  return element(
    "li",
    {},
    element("span", { class: "group", dir: "auto" }),
    element("span", { class: "share" }, element("i", {})),
    element("span", { class: "number" }),
  );
}

const FULL = 2;

function showGroup(item: HTMLElement, { name, before, after, set }: GroupPair): void {
  const [label, share, number] = [...item.children] as HTMLElement[];
  if (!label || !share || !number) return;
  label.textContent = name;
  label.title = name;
  const left = before ? (after ?? 0) / before : 1;
  width(share.children[0], Math.min(Math.abs(left), FULL) / FULL);
  number.textContent = shareText(before, after);
  item.classList.toggle("set", set);
  item.classList.toggle("negative", left < 0);
  item.classList.toggle("less", left < 0.98);
  item.classList.toggle("more", left > 1.02);
  item.title = set
    ? `${name}: set by the intervention`
    : left > FULL
      ? `${name}: more than the bar can show`
      : "";
}

function width(bar: Element | undefined, share: number): void {
  if (bar instanceof HTMLElement) bar.style.width = `${Math.round(1000 * share) / 10}%`;
}
