// What the user arranges: plain data, the same fields as Python's View, with undo.

export type LinkMode = "inputs" | "outputs" | "either" | "both";

export interface ViewState {
  clicked: string | null;
  pinned: string[];
  supernodes: Record<string, string[]>;
  labels: Record<string, string>;
  positions: Record<string, [number, number]>;
  node_threshold: number;
  edge_threshold: number;
  density_threshold: number;
  link_mode: LinkMode;
}

export const FIELDS = [
  "clicked",
  "pinned",
  "supernodes",
  "labels",
  "positions",
  "node_threshold",
  "edge_threshold",
  "density_threshold",
  "link_mode",
] as const satisfies readonly (keyof ViewState)[];

export type Change = Partial<ViewState>;
type Step = Omit<ViewState, "clicked">;

export const OPENING: ViewState = {
  clicked: null,
  pinned: [],
  supernodes: {},
  labels: {},
  positions: {},
  node_threshold: 0.8,
  edge_threshold: 0.98,
  density_threshold: 1,
  link_mode: "both",
};

const SAME_STEP = 800;

/** The state with its past and future. A change back to the previous state counts as an undo, wherever it came from,
 * so that this history and the kernel's stay in step. */
export class Store {
  private past: Step[] = [];
  private future: Step[] = [];
  private lastNames = "";
  private lastTime = Number.NEGATIVE_INFINITY;

  constructor(
    public state: ViewState,
    private readonly clock: () => number = () => performance.now(),
  ) {}

  get canUndo(): boolean {
    return this.past.length > 0;
  }

  get canRedo(): boolean {
    return this.future.length > 0;
  }

  /** Apply a change; gives the fields that differ. */
  change(change: Change): Change {
    const before = arranged(this.state);
    const different = differences(this.state, change);
    if (!Object.keys(different).length) return different;
    this.state = { ...this.state, ...different };
    this.record(before, arranged(this.state));
    return different;
  }

  undo(): Change {
    return this.travel(this.past, this.future);
  }

  redo(): Change {
    return this.travel(this.future, this.past);
  }

  private travel(from: Step[], to: Step[]): Change {
    const step = from.pop();
    if (!step) return {};
    to.push(arranged(this.state));
    this.lastNames = "";
    const different = differences(this.state, step);
    this.state = { ...this.state, ...different };
    return different;
  }

  private record(before: Step, after: Step): void {
    const names = Object.keys(differences(before as ViewState, after)).join();
    if (!names) return;
    const now = this.clock();
    const same = names === this.lastNames && names.endsWith("threshold") && now - this.lastTime < SAME_STEP;
    if (isSame(this.past.at(-1), after)) {
      this.past.pop();
      this.future.push(before);
    } else if (isSame(this.future.at(-1), after)) {
      this.future.pop();
      this.past.push(before);
    } else {
      if (!same) this.past.push(before);
      this.future = [];
    }
    [this.lastNames, this.lastTime] = [names, now];
  }
}

function arranged({ clicked: _, ...rest }: ViewState): Step {
  return rest;
}

function differences(state: ViewState, change: Change): Change {
  return Object.fromEntries(
    Object.entries(change).filter(([name, value]) => !isSame(state[name as keyof ViewState], value)),
  );
}

function isSame(a: unknown, b: unknown): boolean {
  return a === b || JSON.stringify(a) === JSON.stringify(b);
}
