// A sortable, filterable, paged table over numbered rows. It knows nothing of graphs.

import { element } from "../shared/dom";
import { formatCount } from "../shared/numbers";
import { type Cell, filterRows, pageAt, sortRows } from "./rows";

export interface Column {
  title: string;
  /** Said when the pointer rests on the heading. */
  hint: string;
  numeric: boolean;
  cell(row: number): Cell;
  show(row: number): Node | string;
}

export interface Choice {
  title: string;
  options: { value: string; text: string }[];
  accepts(row: number, value: string): boolean;
}

export interface TableSpec {
  noun: string;
  count: number;
  columns: Column[];
  choices: Choice[];
  text(row: number): string;
  sort: { column: number; descending: boolean };
  pageSize: number;
  onHover(row: number | null): void;
  onPick(row: number): void;
}

export class TableView {
  private readonly body = element("tbody");
  private readonly headings: HTMLTableCellElement[];
  private readonly search: HTMLInputElement;
  private readonly selects: HTMLSelectElement[];
  private readonly found = element("output", { class: "found", "aria-live": "polite" });
  private readonly pager = element("nav", { class: "pager" });
  private sort: { column: number; descending: boolean };
  private rows: number[] = [];
  private page = 0;
  private marked: ReadonlySet<number> = new Set();
  private readonly spec: TableSpec;

  constructor(host: HTMLElement, spec: TableSpec) {
    this.spec = spec;
    this.sort = { ...spec.sort };
    this.search = element("input", {
      type: "search",
      placeholder: `Filter ${spec.noun}s`,
      "aria-label": `Filter ${spec.noun}s by text`,
      spellcheck: "false",
    });
    this.search.addEventListener("input", () => this.refresh());
    this.selects = spec.choices.map((choice) => this.makeSelect(choice));
    this.headings = spec.columns.map((column, index) => this.makeHeading(column, index));
    const head = element("thead", {}, element("tr", {}, ...this.headings));
    const table = element("table", {}, element("caption", {}, `The graph's ${spec.noun}s`), head, this.body);
    this.pager.setAttribute("aria-label", `Pages of ${spec.noun}s`);
    host.replaceChildren(
      element("div", { class: "controls" }, this.search, ...this.selects, this.found),
      element("div", { class: "scroll" }, table),
      this.pager,
    );
    this.listen();
    this.refresh();
  }

  /** Mark these rows, where they are on the page. */
  mark(rows: ReadonlySet<number>): void {
    this.marked = rows;
    for (const line of this.lines()) line.classList.toggle("marked", rows.has(Number(line.dataset.row)));
  }

  /** Turn to the page that holds this row, unless the filter hides it. */
  reveal(row: number): void {
    const index = this.rows.indexOf(row);
    const page = Math.floor(index / this.spec.pageSize);
    if (index < 0 || page === this.page) return;
    this.page = page;
    this.draw();
  }

  private makeSelect(choice: Choice): HTMLSelectElement {
    const options = choice.options.map(({ value, text }) => element("option", { value }, text));
    const select = element("select", { "aria-label": choice.title }, ...options);
    select.addEventListener("change", () => this.refresh());
    return select;
  }

  private makeHeading(column: Column, index: number): HTMLTableCellElement {
    const button = element("button", { type: "button", title: column.hint }, column.title);
    button.addEventListener("click", () => this.sortBy(index));
    return element("th", { scope: "col", class: column.numeric ? "numeric" : "" }, button);
  }

  private sortBy(index: number): void {
    const again = this.sort.column === index;
    const numeric = this.spec.columns[index]?.numeric ?? false;
    this.sort = { column: index, descending: again ? !this.sort.descending : numeric };
    this.refresh();
  }

  private refresh(): void {
    const { spec } = this;
    const conditions = spec.choices.flatMap((choice, index) => {
      const value = this.selects[index]?.value ?? "";
      return value === "" ? [] : [(row: number) => choice.accepts(row, value)];
    });
    const kept = filterRows(spec.count, spec.text, this.search.value, conditions);
    const column = spec.columns[this.sort.column];
    this.rows = column ? sortRows(kept, column.cell, this.sort.descending) : kept;
    this.page = 0;
    this.headings.forEach((heading, index) => {
      const direction = this.sort.descending ? "descending" : "ascending";
      heading.setAttribute("aria-sort", index === this.sort.column ? direction : "none");
    });
    const all = this.rows.length === spec.count;
    const total = `${formatCount(spec.count)} ${spec.noun}${spec.count === 1 ? "" : "s"}`;
    this.found.value = all ? total : `${formatCount(this.rows.length)} of ${total}`;
    this.draw();
  }

  private draw(): void {
    const page = pageAt(this.page, this.rows.length, this.spec.pageSize);
    this.page = page.number;
    const lines = this.rows.slice(page.start, page.end).map((row, index) => this.makeLine(row, index === 0));
    if (lines.length === 0) {
      const text = `No ${this.spec.noun} matches this filter.`;
      const cell = element("td", { colspan: String(this.spec.columns.length), class: "empty" }, text);
      lines.push(element("tr", {}, cell));
    }
    this.body.replaceChildren(...lines);
    this.drawPager(page.number, page.count, page.start, page.end);
  }

  private makeLine(row: number, reachable: boolean): HTMLTableRowElement {
    const cells = this.spec.columns.map((column) =>
      element("td", { class: column.numeric ? "numeric" : "" }, column.show(row)),
    );
    const line = element("tr", { "data-row": String(row), tabindex: reachable ? "0" : "-1" }, ...cells);
    line.classList.toggle("marked", this.marked.has(row));
    return line;
  }

  private drawPager(number: number, count: number, start: number, end: number): void {
    this.pager.hidden = count === 1;
    const turn = (text: string, label: string, to: number) => {
      const button = element("button", { type: "button", "aria-label": label }, text);
      button.disabled = to < 0 || to >= count;
      button.addEventListener("click", () => {
        this.page = to;
        this.draw();
        this.pager.querySelector<HTMLButtonElement>(`[aria-label="${label}"]`)?.focus();
      });
      return button;
    };
    const place = `${formatCount(start + 1)}–${formatCount(end)} of ${formatCount(this.rows.length)}`;
    this.pager.replaceChildren(
      turn("←", "Previous page", number - 1),
      element("span", {}, place),
      turn("→", "Next page", number + 1),
    );
  }

  private lines(): HTMLTableRowElement[] {
    return [...this.body.querySelectorAll<HTMLTableRowElement>("tr[data-row]")];
  }

  private listen(): void {
    const rowOf = (event: Event): number | null => {
      const line = event.target instanceof Element ? event.target.closest("tr") : null;
      return line?.dataset.row === undefined ? null : Number(line.dataset.row);
    };
    const pick = (event: Event) => {
      const row = rowOf(event);
      if (row !== null) this.spec.onPick(row);
    };
    this.body.addEventListener("pointerover", (event) => this.spec.onHover(rowOf(event)));
    this.body.addEventListener("pointerleave", () => this.spec.onHover(null));
    this.body.addEventListener("focusin", (event) => this.spec.onHover(rowOf(event)));
    this.body.addEventListener("focusout", () => this.spec.onHover(null));
    this.body.addEventListener("click", pick);
    this.body.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") {
        event.preventDefault();
        pick(event);
      } else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
        event.preventDefault();
        this.moveFocus(event.target, event.key === "ArrowDown" ? 1 : -1);
      }
    });
  }

  private moveFocus(from: EventTarget | null, step: number): void {
    const lines = this.lines();
    const next = lines[lines.indexOf(from as HTMLTableRowElement) + step];
    if (!next) return;
    for (const line of lines) line.tabIndex = line === next ? 0 : -1;
    next.focus();
  }
}
