// "Go to": a field that takes a feature's name, words of its label or a token it promotes, with what was found below it.

import { element } from "../shared/dom";
import { visible } from "./evidence";
import { Latest } from "./latest";

/** Name, label, and the promoted token that led to it, or "". */
export type Found = [string, string, string];

export class Finder {
  readonly box: HTMLElement;
  readonly input = element("input", {
    type: "search",
    placeholder: "L3/55, a label or a token",
    "aria-label": "Go to a feature: its name, words of its label, or a token it promotes",
    autocomplete: "off",
    spellcheck: "false",
  });
  private readonly list = element("ul", { class: "found", role: "listbox", hidden: "" });
  private readonly search: Latest<string, Found[]>;
  private at = -1;

  constructor(
    find: (text: string) => Promise<Found[]>,
    private readonly go: (name: string) => void,
    report: (sentence: string) => void,
  ) {
    this.search = new Latest(
      (text) => find(text),
      (found) => this.show(found),
      (error) => report(error.message),
      60,
    );
    this.box = element("div", { class: "finder" }, this.input, this.list);
    this.input.addEventListener("input", () => {
      if (this.input.value.trim()) this.search.ask(this.input.value);
      else this.close();
    });
    this.input.addEventListener("keydown", (event) => this.key(event));
    this.input.addEventListener("blur", () => setTimeout(() => this.close(), 150));
  }

  private key(event: KeyboardEvent): void {
    if (!event.altKey) event.stopPropagation(); // Alt+← goes back from here too
    const rows = [...this.list.querySelectorAll<HTMLElement>("[role=option]")];
    if (event.key === "Escape") {
      this.close();
      this.input.value = "";
    } else if (event.key === "Enter") {
      const name = rows[Math.max(0, this.at)]?.dataset.name ?? this.input.value.trim();
      if (name) this.pick(name);
    } else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      this.at = Math.min(rows.length - 1, Math.max(0, this.at + (event.key === "ArrowDown" ? 1 : -1)));
      rows.forEach((row, index) => {
        row.setAttribute("aria-selected", String(index === this.at));
      });
    }
  }

  private pick(name: string): void {
    this.close();
    this.input.value = "";
    this.go(name);
  }

  private close(): void {
    this.search.drop();
    this.at = -1;
    this.list.hidden = true;
  }

  private show(found: Found[]): void {
    this.at = -1;
    this.list.hidden = false;
    const rows = found.map(([name, label, token]) => {
      const said = [visible(label), token && `promotes ${visible(token)}`].filter(Boolean).join(" · ");
      const row = element(
        "li",
        { role: "option", "aria-selected": "false" },
        element("span", { class: "name" }, said || "no label"),
        element("span", { class: "place" }, name),
      );
      row.dataset.name = name;
      row.addEventListener("pointerdown", (event) => {
        event.preventDefault();
        this.pick(name);
      });
      return row;
    });
    this.list.replaceChildren(...(rows.length ? rows : [element("li", { class: "hint" }, "nothing found")]));
  }
}
