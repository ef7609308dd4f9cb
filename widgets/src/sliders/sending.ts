// States on their way to the kernel: one at a time, of those that wait the newest; results that are too old are refused.

/** Sends states and knows which results still count. `send` resolves with the revision under which the result comes. */
export class Sending<State> {
  private waiting: { state: State } | null = null;
  private flight: { revision: number | null } | null = null;
  private asked = 0;
  private shown = 0;
  private timer: ReturnType<typeof setTimeout> | undefined;

  /** `patience`: milliseconds after which a result no longer holds up newer states. */
  constructor(
    private readonly send: (state: State) => Promise<number>,
    private readonly fail: (error: Error) => void,
    private readonly patience = 400,
  ) {}

  /** Whether something is on its way or waits. */
  get busy(): boolean {
    return this.flight !== null || this.waiting !== null;
  }

  /** The newest revision that was asked for here. */
  get newest(): number {
    return this.asked;
  }

  push(state: State): void {
    this.waiting = { state };
    this.next();
  }

  /** A result came: whether to show it. */
  accept(revision: number): boolean {
    if (revision < this.asked || revision < this.shown) return false;
    this.shown = revision;
    if (this.flight?.revision != null && revision >= this.flight.revision) this.land(this.flight);
    return true;
  }

  stop(): void {
    clearTimeout(this.timer);
    this.waiting = null;
  }

  private next(): void {
    if (!this.waiting || this.flight) return;
    const { state } = this.waiting;
    this.waiting = null;
    const flight: { revision: number | null } = { revision: null };
    this.flight = flight;
    this.send(state).then(
      (revision) => {
        this.asked = Math.max(this.asked, revision);
        flight.revision = revision;
        if (this.shown >= revision) this.land(flight);
        else this.timer = setTimeout(() => this.land(flight), this.patience);
      },
      (error: Error) => {
        this.fail(error);
        this.land(flight);
      },
    );
  }

  private land(flight: { revision: number | null }): void {
    if (this.flight !== flight) return;
    clearTimeout(this.timer);
    this.flight = null;
    this.next();
  }
}
