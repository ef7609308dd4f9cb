// Canvases: one that is drawn at once, and pictures that are drawn in slices and then take the old one's place.

export interface Camera {
  scale: number;
  x: number;
  y: number;
}

/** Drawing that gives way now and then; what it has drawn so far is not seen before it ends. */
export type Drawing = Iterator<void>;

const FRAME_BUDGET = 7;

/** A canvas as large as its stage, sharp on dense screens. It is painted by the processor, so that time is spent where
 * it is measured. */
export class Sheet {
  readonly canvas = document.createElement("canvas");
  readonly context: CanvasRenderingContext2D;

  constructor(name = "") {
    this.canvas.className = name;
    const context = this.canvas.getContext("2d", { willReadFrequently: true });
    if (!context) throw new Error("this browser draws no canvas");
    this.context = context;
  }

  /** Empty it, and set its size and camera. */
  clear(width: number, height: number, camera: Camera): CanvasRenderingContext2D {
    const dense = Math.min(2, globalThis.devicePixelRatio || 1);
    const [wide, high] = [Math.round(width * dense), Math.round(height * dense)];
    if (this.canvas.width !== wide || this.canvas.height !== high) {
      this.canvas.width = wide;
      this.canvas.height = high;
    }
    this.context.globalAlpha = 1;
    this.context.setLineDash([]);
    this.context.setTransform(1, 0, 0, 1, 0, 0);
    this.context.clearRect(0, 0, wide, high);
    const scale = dense * camera.scale;
    this.context.setTransform(scale, 0, 0, scale, dense * camera.x, dense * camera.y);
    return this.context;
  }
}

/** Something in the stage that was drawn for one camera and is moved as a picture until it is drawn for another. */
export class Layer {
  private drawnFor: Camera = { scale: 1, x: 0, y: 0 };

  constructor(readonly box: HTMLElement | SVGElement) {}

  drawn(camera: Camera): void {
    this.drawnFor = camera;
    this.box.style.transform = "";
  }

  follow(camera: Camera): void {
    const by = camera.scale / this.drawnFor.scale;
    const [x, y] = [camera.x - by * this.drawnFor.x, camera.y - by * this.drawnFor.y];
    this.box.style.transform = `matrix(${by},0,0,${by},${x},${y})`;
  }
}

/** A layer whose canvas is exchanged for a newer one. */
export class Picture extends Layer {
  private shown: Sheet | null = null;

  /** Show this sheet, drawn for `camera`; gives back the old one for the next drawing. */
  exchange(sheet: Sheet, camera: Camera): Sheet {
    const before = this.shown ?? new Sheet();
    this.box.replaceChildren(sheet.canvas);
    this.shown = sheet;
    this.drawn(camera);
    return before;
  }
}

export interface Job {
  picture: Picture;
  start(context: CanvasRenderingContext2D): Drawing;
}

/** Draws pictures one after the other, a little per frame; what was being drawn is dropped when a new series starts. */
export class Painter {
  private spare = new Sheet();
  private frame = 0;

  cancel(): void {
    cancelAnimationFrame(this.frame);
  }

  /** The first `atOnce` jobs are drawn now, whatever it takes. */
  paint(
    jobs: readonly Job[],
    atOnce: number,
    width: number,
    height: number,
    camera: Camera,
    now: () => Camera,
  ): void {
    this.cancel();
    let [at, drawing]: [number, Drawing | null] = [0, null];
    const step = () => {
      const until = performance.now() + FRAME_BUDGET;
      for (let job = jobs[at]; job; job = jobs[at]) {
        const { context } = this.spare;
        drawing ??= job.start(this.spare.clear(width, height, camera));
        while (!drawing.next().done) {
          // Canvases put off their work; reading a pixel makes them do it, so that the clock tells the truth.
          context.getImageData(0, 0, 1, 1);
          if (at >= atOnce && performance.now() > until) {
            this.frame = requestAnimationFrame(step);
            return;
          }
        }
        this.spare = job.picture.exchange(this.spare, camera);
        job.picture.follow(now());
        [at, drawing] = [at + 1, null];
      }
    };
    step();
  }
}
