// Questions asked faster than they are answered: one at a time, the latest wins, each with a revision.

export interface Timer {
  set(act: () => void, milliseconds: number): number;
  clear(id: number): void;
  now(): number;
}

const TIMER: Timer = {
  set: (act, milliseconds) => window.setTimeout(act, milliseconds),
  clear: (id) => window.clearTimeout(id),
  now: () => performance.now(),
};

/** Runs `run` for the latest input, at most once per `wait` and one at a time; answers to what was asked before
 * `drop` are not shown. */
export class Latest<Input, Output> {
  private revision = 0;
  private oldest = 0;
  private pending: { input: Input; revision: number } | null = null;
  private running = false;
  private timer: number | null = null;
  private started = Number.NEGATIVE_INFINITY;

  constructor(
    private readonly run: (input: Input, revision: number) => Promise<Output>,
    private readonly show: (output: Output, input: Input, revision: number) => void,
    private readonly fail: (error: Error, input: Input) => void,
    private readonly wait = 90,
    private readonly clock: Timer = TIMER,
  ) {}

  ask(input: Input): void {
    this.pending = { input, revision: ++this.revision };
    this.schedule();
  }

  /** Forget what waits, and do not show what is under way. */
  drop(): void {
    this.pending = null;
    this.oldest = ++this.revision;
    if (this.timer !== null) this.clock.clear(this.timer);
    this.timer = null;
  }

  private schedule(): void {
    if (this.running || this.timer !== null || !this.pending) return;
    this.timer = this.clock.set(
      () => {
        this.timer = null;
        void this.start();
      },
      Math.max(0, this.started + this.wait - this.clock.now()),
    );
  }

  private async start(): Promise<void> {
    const asked = this.pending;
    if (!asked) return;
    this.pending = null;
    this.running = true;
    this.started = this.clock.now();
    try {
      const output = await this.run(asked.input, asked.revision);
      if (asked.revision > this.oldest) this.show(output, asked.input, asked.revision);
    } catch (error) {
      if (asked.revision > this.oldest) this.fail(error as Error, asked.input);
    } finally {
      this.running = false;
      this.schedule();
    }
  }
}
