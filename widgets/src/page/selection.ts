// What the page's parts share: what is pointed at and what is pinned.

import type { Focus } from "../graph/highlight";

type Listener = () => void;

export class Selection {
  private pointed: Focus | null = null;
  private pinnedNode: number | null = null;
  private readonly listeners: Listener[] = [];

  /** What lights up: what is pointed at, else the pinned node. */
  get focus(): Focus | null {
    if (this.pointed) return this.pointed;
    return this.pinnedNode === null ? null : { of: "node", node: this.pinnedNode };
  }

  get pinned(): number | null {
    return this.pinnedNode;
  }

  point(focus: Focus | null): void {
    this.pointed = focus;
    this.tell();
  }

  /** Pin a node; the pinned one again, or null, lets go. */
  pin(node: number | null): void {
    this.pinnedNode = node === this.pinnedNode ? null : node;
    this.tell();
  }

  listen(listener: Listener): void {
    this.listeners.push(listener);
  }

  private tell(): void {
    for (const listener of this.listeners) listener();
  }
}
