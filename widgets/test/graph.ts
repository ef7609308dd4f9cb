import fixture from "../dev/fixture.json";
import { GraphModel } from "../src/graph/model";
import { readPlace } from "../src/graph/place";
import { OPENING, type ViewState } from "../src/graph/state";
import { floats, ints } from "../src/shared/host";

/** The development page's graph, as Python writes it (tests/test_widget.py). */
export { fixture };

function bytes(text: string): DataView {
  return new DataView(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
}

export function exampleModel(): GraphModel {
  const { strings, nodes, edges } = fixture.widget;
  return new GraphModel(JSON.parse(strings), floats(bytes(nodes)), ints(bytes(edges)));
}

export function examplePlace(model: GraphModel) {
  return readPlace(model.count, floats(bytes(fixture.widget.placed)), fixture.widget.placed_strings);
}

export function state(change: Partial<ViewState> = {}): ViewState {
  return { ...OPENING, ...change };
}
