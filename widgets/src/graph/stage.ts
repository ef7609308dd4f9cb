// The drawing: layers stacked in one box, a camera over them, and what pointer and wheel do.
//
// At rest everything is drawn for the camera. While a heavy graph is moved the drawn layers are moved as pictures and
// drawn again, in slices, when the hand rests; pointing at a node only fades the layers and draws what lights up on top.
// Of thousands of nodes, those without a text are drawn on canvas.

import { element } from "../shared/dom";
import { svg } from "../shared/svg";
import type { Colours } from "../shared/theme";
import { nodeBadge } from "./badges";
import { drawCrisp, drawHaze, drawLit, EdgeSet } from "./edges";
import { drawMarks, ground, nodeMark, ring } from "./marks";
import type { GraphModel } from "./model";
import { Finder, type Place } from "./place";
import type { Shown } from "./prune";
import { type Camera, type Job, Layer, Painter, Picture, Sheet } from "./sheet";

export interface Lit {
  nodes: ReadonlySet<number>;
  edges: readonly number[];
}

export interface Marked {
  clicked: number | null;
  pinned: ReadonlySet<number>;
  grouping: ReadonlySet<number>;
  grouped: ReadonlySet<number>;
  found: ReadonlySet<number>;
  badges: ReadonlyMap<number, string>;
}

export interface StageEvents {
  onHover(row: number | null): void;
  onClick(row: number | null, event: PointerEvent): void;
}

/** Text in pixels below which a graph is rather moved than shown whole. */
const SMALLEST = 9;
const HEAVY_NODES = 500;
const HEAVY_EDGES = 1200;
/** More nodes than this are drawn on canvas, but for those with a text. */
const SVG_NODES = 900;
const REST = 140;

export class Stage {
  readonly box = element("div", { class: "stage" });
  private readonly layers = element("div", { class: "layers" });
  private readonly groundSvg = svg("svg", { class: "ground-layer" });
  private readonly haze = new Picture(element("div", { class: "haze fades" }));
  private readonly crisp = new Picture(element("div", { class: "crisp fades" }));
  private readonly dots = new Picture(element("div", { class: "dots fades" }));
  private readonly litSheet = new Sheet("lit");
  private readonly nodeSvg = svg("svg", { class: "node-layer fades" });
  private readonly topSvg = svg("svg", { class: "top-layer" });
  private readonly moving: Layer[];
  private readonly svgLayers: Layer[];
  private readonly lit: Layer;
  private readonly top: Layer;
  private readonly painter = new Painter();
  private camera: Camera = { scale: 1, x: 0, y: 0 };
  private fitted = true;
  private edgeSet: EdgeSet | null = null;
  private finder: Finder | null = null;
  private place: Place | null = null;
  private rows: number[] = [];
  private isRow = new Uint8Array(0);
  private marks = new Map<number, SVGGElement>();
  private dotRows: number[] = [];
  private litNow: Lit = { nodes: new Set(), edges: [] };
  private markedNow: Marked | null = null;
  private frame = 0;
  private resting = 0;
  private litFrame = 0;
  private width = 0;
  private height = 0;

  constructor(
    private readonly model: GraphModel,
    private colours: Colours,
    private readonly events: StageEvents,
    signal: AbortSignal,
  ) {
    this.svgLayers = [this.groundSvg, this.nodeSvg].map((box) => new Layer(box));
    this.lit = new Layer(this.litSheet.canvas);
    this.top = new Layer(this.topSvg);
    this.moving = [...this.svgLayers, this.haze, this.crisp, this.dots, this.lit, this.top];
    this.layers.append(
      this.groundSvg,
      this.haze.box,
      this.crisp.box,
      this.litSheet.canvas,
      this.dots.box,
      this.nodeSvg,
      this.topSvg,
    );
    this.box.append(this.layers);
    this.listen(signal);
    signal.addEventListener("abort", () => {
      cancelAnimationFrame(this.frame);
      cancelAnimationFrame(this.litFrame);
      clearTimeout(this.resting);
      this.painter.cancel();
    });
  }

  /** Show these nodes and edges at these places; `nameOf` gives the user's own label, or null for the layout's. */
  show(place: Place, shown: Shown, nameOf: (row: number) => string | null): void {
    const moved = place !== this.place;
    this.place = place;
    this.edgeSet = new EdgeSet(this.model, place, shown);
    this.rows = [];
    this.isRow = new Uint8Array(this.model.count);
    for (let row = 0; row < this.model.count; row++)
      if (shown.nodes[row] && this.model.nodes.kind[row] !== 0) {
        this.isRow[row] = 1;
        this.rows.push(row);
      }
    this.finder = new Finder(place, this.rows);
    if (moved) this.groundSvg.replaceChildren(ground(place));
    const many = this.rows.length > SVG_NODES;
    const plain = (row: number) => !place.text[row] && !place.label[row] && !nameOf(row);
    this.dotRows = many ? this.rows.filter(plain) : [];
    const drawn = many ? this.rows.filter((row) => !plain(row)) : this.rows;
    this.marks = new Map(drawn.map((row) => [row, nodeMark(this.model, place, row, nameOf(row))]));
    const holder = svg("g", { "font-size": place.em });
    holder.append(...this.marks.values());
    this.nodeSvg.replaceChildren(holder);
    if (this.fitted) this.fit();
    else this.draw();
    this.light(this.litNow);
    if (this.markedNow) this.mark(this.markedNow);
  }

  paint(colours: Colours): void {
    this.colours = colours;
    if (this.place) this.draw();
    this.light(this.litNow);
  }

  resize(): void {
    const { clientWidth, clientHeight } = this.box;
    if (!clientWidth || (clientWidth === this.width && clientHeight === this.height)) return;
    [this.width, this.height] = [clientWidth, clientHeight];
    if (this.fitted) this.fit();
    else this.draw();
    this.light(this.litNow);
  }

  get extent(): [number, number] {
    return [this.width, this.height];
  }

  /** The whole graph in view; of one whose text would get too small, the upper part. */
  fit(): void {
    if (!this.place || !this.width) return;
    const wide = this.width / this.place.width;
    const scale = Math.min(wide, Math.max(this.height / this.place.height, SMALLEST / this.place.em), 1.6);
    const x = (this.width - scale * this.place.width) / 2;
    const y = Math.max(0, (this.height - scale * this.place.height) / 2);
    this.camera = { scale, x, y };
    this.fitted = true;
    this.draw();
  }

  zoom(factor: number, x = this.width / 2, y = this.height / 2): void {
    const scale = Math.min(12, Math.max(0.1, this.camera.scale * factor));
    const by = scale / this.camera.scale;
    this.move({ scale, x: x - by * (x - this.camera.x), y: y - by * (y - this.camera.y) });
  }

  /** Bring a node into view if it is outside. */
  reveal(row: number): void {
    if (!this.place) return;
    const [x, y] = this.screen(row);
    const margin = 30;
    const dx = x < margin ? margin - x : Math.min(0, this.width - margin - x);
    const dy = y < margin ? margin - y : Math.min(0, this.height - margin - y);
    if (dx || dy) this.move({ ...this.camera, x: this.camera.x + dx, y: this.camera.y + dy });
  }

  /** Where a node is, in pixels of the stage. */
  screen(row: number): [number, number] {
    const { x = [], y = [] } = this.place ?? {};
    return [
      this.camera.scale * (x[row] ?? 0) + this.camera.x,
      this.camera.scale * (y[row] ?? 0) + this.camera.y,
    ];
  }

  isShown(row: number): boolean {
    return this.isRow[row] === 1;
  }

  /** Light up these nodes and edges and fade the rest; nothing lit, nothing faded. */
  light(lit: Lit): void {
    this.litNow = lit;
    cancelAnimationFrame(this.litFrame);
    this.litFrame = requestAnimationFrame(() => this.drawLit());
  }

  mark(marked: Marked): void {
    this.markedNow = marked;
    this.drawTop();
  }

  private drawLit(): void {
    const { nodes, edges } = this.litNow;
    this.box.classList.toggle("focused", nodes.size > 0);
    const context = this.litSheet.clear(this.width, this.height, this.camera);
    this.lit.drawn(this.camera);
    if (this.edgeSet && edges.length) drawLit(context, this.edgeSet, edges, this.colours);
    this.drawTop();
  }

  private drawTop(): void {
    const { place, markedNow: marked } = this;
    if (!place) return;
    const group = svg("g", { "font-size": place.em, transform: matrix(this.camera) });
    for (const row of this.litNow.nodes)
      if (this.isShown(row))
        group.append(this.marks.get(row)?.cloneNode(true) ?? nodeMark(this.model, place, row, null));
    if (marked) {
      const rings: [Iterable<number>, string, number][] = [
        [marked.found, "ring found", 4],
        [marked.grouped, "ring grouped", 3],
        [marked.pinned, "ring pinned", 3],
        [marked.grouping, "ring grouping", 5],
        [marked.clicked === null ? [] : [marked.clicked], "ring clicked", 4],
      ];
      for (const [rows, name, gap] of rings)
        for (const row of rows) if (this.isShown(row)) group.append(ring(this.model, place, row, name, gap));
      for (const [row, text] of marked.badges) {
        if (!this.isShown(row)) continue;
        const side = Math.min(place.wide[row]! / 2, 0.6 * place.em) + 0.25 * place.em;
        group.append(nodeBadge(text, place.x[row]! - side, place.y[row]!, place.em));
      }
    }
    this.topSvg.replaceChildren(group);
    this.top.drawn(this.camera);
  }

  private get heavy(): boolean {
    return this.rows.length > HEAVY_NODES || (this.edgeSet?.crisp.length ?? 0) > HEAVY_EDGES;
  }

  private move(camera: Camera): void {
    this.camera = camera;
    this.fitted = false;
    this.box.classList.add("moved");
    cancelAnimationFrame(this.frame);
    this.frame = requestAnimationFrame(() => {
      if (!this.heavy) {
        this.draw();
        return;
      }
      this.painter.cancel();
      for (const layer of this.moving) layer.follow(this.camera);
      clearTimeout(this.resting);
      this.resting = setTimeout(() => this.draw(), REST);
    });
  }

  /** Everything anew, for the camera as it is; of a heavy graph a little per frame. */
  private draw(): void {
    const { edgeSet: set, place, camera, colours } = this;
    if (!set || !place || !this.width) return;
    clearTimeout(this.resting);
    for (const layer of this.svgLayers) {
      layer.box.firstElementChild?.setAttribute("transform", matrix(camera));
      layer.drawn(camera);
    }
    const jobs: Job[] = [
      { picture: this.dots, start: (c) => drawMarks(c, this.model, place, this.dotRows, colours) },
      { picture: this.crisp, start: (c) => drawCrisp(c, set, colours) },
      { picture: this.haze, start: (c) => drawHaze(c, set, camera.scale, colours) },
    ];
    this.painter.paint(jobs, this.heavy ? 0 : 2, this.width, this.height, camera, () => this.camera);
    for (const layer of this.moving) layer.follow(camera);
    this.drawLit();
  }

  private listen(signal: AbortSignal): void {
    const options = { signal };
    const { box } = this;
    const at = (event: MouseEvent): [number, number] => {
      const frame = box.getBoundingClientRect();
      return [event.clientX - frame.left, event.clientY - frame.top];
    };
    const nodeAt = (event: MouseEvent): number | null => {
      const [x, y] = at(event);
      const { scale } = this.camera;
      return this.finder?.at((x - this.camera.x) / scale, (y - this.camera.y) / scale, 7 / scale) ?? null;
    };
    let drag: { x: number; y: number; camera: Camera; moved: boolean } | null = null;
    box.addEventListener(
      "pointerdown",
      (event) => {
        if (event.button !== 0) return;
        box.setPointerCapture(event.pointerId);
        drag = { x: event.clientX, y: event.clientY, camera: this.camera, moved: false };
      },
      options,
    );
    box.addEventListener(
      "pointermove",
      (event) => {
        if (!drag) {
          const row = nodeAt(event);
          box.classList.toggle("pointing", row !== null);
          this.events.onHover(row);
          return;
        }
        const [dx, dy] = [event.clientX - drag.x, event.clientY - drag.y];
        if (!drag.moved && Math.hypot(dx, dy) < 4) return;
        if (!drag.moved) this.events.onHover(null);
        drag.moved = true;
        box.classList.add("dragging");
        this.move({ ...drag.camera, x: drag.camera.x + dx, y: drag.camera.y + dy });
      },
      options,
    );
    const end = (event: PointerEvent) => {
      const clicked = drag && !drag.moved && event.type === "pointerup";
      drag = null;
      box.classList.remove("dragging");
      if (clicked) this.events.onClick(nodeAt(event), event);
    };
    box.addEventListener("pointerup", end, options);
    box.addEventListener("pointercancel", end, options);
    box.addEventListener("pointerleave", () => this.events.onHover(null), options);
    box.addEventListener(
      "wheel",
      (event) => {
        event.preventDefault();
        const unit = event.deltaMode === 1 ? 16 : 1;
        const [x, y] = at(event);
        this.zoom(Math.exp(-Math.max(-120, Math.min(120, event.deltaY * unit)) * 0.0025), x, y);
      },
      { signal, passive: false },
    );
    box.addEventListener("dblclick", (event) => nodeAt(event) === null && this.fit(), options);
  }
}

function matrix(camera: Camera): string {
  return `translate(${camera.x} ${camera.y}) scale(${camera.scale})`;
}
