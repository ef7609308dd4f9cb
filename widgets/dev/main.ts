// The development page: `npm run dev`, then http://127.0.0.1:8000. Edits reload; what changes is written below.

import { mount } from "../src/graph/component";
import { GraphModel } from "../src/graph/model";
import { readPlace } from "../src/graph/place";
import { OPENING } from "../src/graph/state";
import { byId } from "../src/shared/dom";
import { floats, ints } from "../src/shared/host";
import fixture from "./fixture.json";

const bytes = (text: string) => new DataView(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
const { strings, nodes, edges, placed, placed_strings } = fixture.widget;
const model = new GraphModel(JSON.parse(strings), floats(bytes(nodes)), ints(bytes(edges)));
const place = readPlace(model.count, floats(bytes(placed)), placed_strings);
const log = byId("log");

mount(
  byId("graph"),
  model,
  { height: 690, state: OPENING, place },
  {
    onState: (change) => {
      log.textContent = `${JSON.stringify(change)}\n${log.textContent ?? ""}`;
    },
    onExport: () => Promise.reject(new Error("there is no kernel on this page")),
  },
  new AbortController().signal,
);
new EventSource("/esbuild").addEventListener("change", () => location.reload());
