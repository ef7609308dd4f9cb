// The adapter between anywidget's model and a component: typed reads, and requests that are answered or fail.

/** What circuitlab uses of anywidget's model (AFM). */
export interface HostModel {
  get(name: string): unknown;
  set(name: string, value: unknown): void;
  save_changes(): void;
  on(event: string, callback: (...values: never[]) => void): void;
  off(event: string, callback?: (...values: never[]) => void): void;
  send(content: unknown, callbacks?: unknown, buffers?: ArrayBuffer[]): void;
  widget_manager?: { kernel?: { status?: string; connectionStatus?: string } | null };
}

/** A trait of bytes, without copying; empty when the kernel has not sent it. */
export function bytesOf(model: HostModel, name: string): DataView {
  const value = model.get(name);
  if (value instanceof DataView) return value;
  if (value instanceof ArrayBuffer) return new DataView(value);
  if (ArrayBuffer.isView(value)) return new DataView(value.buffer, value.byteOffset, value.byteLength);
  return new DataView(new ArrayBuffer(0));
}

/** Little-endian float32 values; copied where the buffer is not aligned to four bytes. */
export function floats(view: DataView): Float32Array {
  const [buffer, start] = aligned(view);
  return new Float32Array(buffer, start, view.byteLength >> 2);
}

export function ints(view: DataView): Int32Array {
  const [buffer, start] = aligned(view);
  return new Int32Array(buffer, start, view.byteLength >> 2);
}

function aligned(view: DataView): [ArrayBuffer, number] {
  const buffer = view.buffer as ArrayBuffer;
  if (view.byteOffset % 4 === 0) return [buffer, view.byteOffset];
  return [buffer.slice(view.byteOffset, view.byteOffset + view.byteLength), 0];
}

export interface Answer {
  content: Record<string, unknown>;
  buffers: DataView[];
}

export interface Waiting {
  signal: AbortSignal;
  /** Called once if there is no answer after `patience` milliseconds; the request goes on. */
  onSlow?: () => void;
  patience?: number;
  /** After this many milliseconds the request fails. */
  timeout?: number;
}

let lastId = 0;

/** Ask the kernel (`Widget._on_<kind>` answers); fails with the kernel's own words, or when none come. */
export function request(
  model: HostModel,
  kind: string,
  content: object,
  { signal, onSlow, patience = 2500, timeout = 60_000 }: Waiting,
): Promise<Answer> {
  const id = `${Date.now()}-${++lastId}`;
  return new Promise((resolve, reject) => {
    const finish = (act: () => void) => {
      clearTimeout(slow);
      clearTimeout(late);
      model.off("msg:custom", listen);
      signal.removeEventListener("abort", aborted);
      act();
    };
    const listen = (reply: Record<string, unknown>, buffers: DataView[] = []) => {
      if (reply?.id !== id) return;
      if (typeof reply.error === "string") finish(() => reject(new Error(String(reply.error))));
      else
        finish(() =>
          resolve({ content: (reply.answer ?? {}) as Record<string, unknown>, buffers: [...buffers] }),
        );
    };
    const aborted = () => finish(() => reject(new DOMException("the view was closed", "AbortError")));
    const slow = setTimeout(() => onSlow?.(), patience);
    const late = setTimeout(() => finish(() => reject(new Error(silence(model)))), timeout);
    signal.addEventListener("abort", aborted);
    model.on("msg:custom", listen as (...values: never[]) => void);
    try {
      Promise.resolve(model.send({ id, kind, ...content }) as unknown).catch(() =>
        finish(() => reject(new Error(silence(model)))),
      );
    } catch {
      finish(() => reject(new Error(silence(model))));
    }
  });
}

/** Why nothing comes back, as far as the front end can tell. */
export function silence(model: HostModel): string {
  const kernel = model.widget_manager?.kernel;
  if (kernel?.status === "busy") return "The kernel is busy; this waits until it is free.";
  if (kernel === null || kernel?.status === "dead" || kernel?.status === "unknown")
    return "No kernel is running: what you change stays in this view.";
  return "The kernel does not answer: it is busy, or it no longer knows this widget.";
}

/** Watches the kernel: reports a sentence while it does not answer, "" once it does. */
export class Pulse {
  private waiting = false;

  constructor(
    private readonly model: HostModel,
    private readonly signal: AbortSignal,
    private readonly report: (sentence: string) => void,
  ) {}

  /** Ask for a sign of life; at most one question is open at a time. */
  check(): void {
    if (this.waiting || this.signal.aborted) return;
    this.waiting = true;
    request(
      this.model,
      "ping",
      {},
      {
        signal: this.signal,
        onSlow: () => this.report(silence(this.model)),
        timeout: 3_600_000,
      },
    )
      .then(() => this.report(""))
      .catch((error: Error) => {
        if (error.name !== "AbortError") this.report(error.message);
      })
      .finally(() => {
        this.waiting = false;
      });
  }
}
