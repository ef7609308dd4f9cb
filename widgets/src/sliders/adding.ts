// The line below the rows: a name to add, with what is offered, and the node that is clicked in the graph.

import { element } from "../shared/dom";
import type { Offer } from "./state";

export class AddingView {
  readonly root: HTMLElement;
  private readonly name = element("input", {
    type: "text",
    class: "add",
    list: "offered",
    placeholder: "Add a supernode, label, feature or node…",
    "aria-label": "Add a row by name",
  });
  private readonly list = element("datalist", { id: "offered" });
  private readonly clicked = element("button", {
    type: "button",
    class: "clicked",
    title: "Add the node that is clicked in the graph",
  });
  private offered: Offer[] = [];
  private node: string | null = null;

  constructor(private readonly onAdd: (name: string) => void) {
    this.root = element("form", { class: "adding" }, this.name, this.list, this.clicked);
    this.root.addEventListener("submit", (event) => {
      event.preventDefault();
      this.add(this.name.value.trim());
    });
    this.name.addEventListener("change", () => {
      if (this.offered.some(({ name }) => name === this.name.value)) this.add(this.name.value);
    });
    this.clicked.addEventListener("click", () => this.add(this.node ?? ""));
  }

  offer(offered: Offer[]): void {
    this.offered = offered;
    this.list.replaceChildren(...offered.map(({ name, hint }) => element("option", { value: name }, hint)));
  }

  /** The node that is clicked in the graph, or null where there is none to add. */
  show(node: string | null): void {
    this.node = node;
    this.clicked.hidden = node === null;
    this.clicked.textContent = `+ ${node ?? ""}`;
  }

  private add(name: string): void {
    if (name) this.onAdd(name);
    this.name.value = "";
  }
}
