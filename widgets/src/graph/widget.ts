// The attribution graph inside Jupyter: an anywidget front-end module around the component.

import { bytesOf, floats, type HostModel, ints, Pulse, request } from "../shared/host";
import { mount } from "./component";
import { GraphModel, type Strings } from "./model";
import { readPlace } from "./place";
import { type Change, FIELDS, type ViewState } from "./state";

interface RenderProps {
  model: HostModel;
  el: HTMLElement;
  signal?: AbortSignal;
}

/** How long changes wait for more of them before they travel. */
const GATHER = 90;

function stateOf(model: HostModel): ViewState {
  return Object.fromEntries(FIELDS.map((name) => [name, model.get(name)])) as unknown as ViewState;
}

function render({ model, el, signal }: RenderProps): () => void {
  const closing = new AbortController();
  signal?.addEventListener("abort", () => closing.abort());
  const graph = new GraphModel(
    JSON.parse(String(model.get("_strings"))) as Strings,
    floats(bytesOf(model, "_nodes")),
    ints(bytesOf(model, "_edges")),
  );
  const place = () =>
    readPlace(graph.count, floats(bytesOf(model, "_placed")), String(model.get("_placed_strings")));
  const badges = () => ({ ...(model.get("_changed") as object), ...(model.get("badges") as object) });
  let gathering = 0;
  const send = () => {
    clearTimeout(gathering);
    gathering = setTimeout(() => {
      model.save_changes();
      pulse.check();
    }, GATHER);
  };
  const component = mount(
    el,
    graph,
    {
      height: Number(model.get("height")),
      state: stateOf(model),
      place: place(),
      badges: badges(),
    },
    {
      onState: (change) => {
        for (const [name, value] of Object.entries(change)) model.set(name, value);
        send();
      },
      onExtent: (width, height) => {
        const [wide = 0, high = 0] = model.get("_extent") as number[];
        if (Math.abs(wide - width) < 40 && Math.abs(high - height) < 40) return;
        model.set("_extent", [Math.round(width), Math.round(height)]);
        send();
      },
      onExport: async (format, report) => {
        const onSlow = () => report("Waiting for the kernel, which is busy or gone…");
        const { content, buffers } = await request(
          model,
          "export",
          { format },
          { signal: closing.signal, onSlow },
        );
        const bytes = buffers.map(
          (view) => new Uint8Array(view.buffer as ArrayBuffer, view.byteOffset, view.byteLength),
        );
        return { name: String(content.name), data: new Blob(bytes, { type: String(content.type) }) };
      },
    },
    closing.signal,
  );
  const pulse = new Pulse(model, closing.signal, (sentence) => component.report(sentence));
  const heard: [string, () => void][] = FIELDS.map((name) => [
    `change:${name}`,
    () => component.setState({ [name]: model.get(name) } as Change),
  ]);
  heard.push(["change:_placed_strings", () => component.setPlace(place())]);
  for (const name of ["badges", "_changed"])
    heard.push([`change:${name}`, () => component.setBadges(badges())]);
  heard.push(["change:height", () => component.setHeight(Number(model.get("height")))]);
  for (const [event, act] of heard) model.on(event, act);
  pulse.check();
  return () => {
    closing.abort();
    clearTimeout(gathering);
    for (const [event, act] of heard) model.off(event, act);
  };
}

export default { render };
