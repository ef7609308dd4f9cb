// The sliders inside Jupyter: an anywidget front-end module around the component.

import { type HostModel, Pulse, request, silence } from "../shared/host";
import { mount } from "./component";
import type { Context, Result, SliderState } from "./state";

interface RenderProps {
  model: HostModel;
  el: HTMLElement;
  signal?: AbortSignal;
}

function read<Data>(model: HostModel, name: string): Data {
  return JSON.parse(String(model.get(name) || "{}")) as Data;
}

function render({ model, el, signal }: RenderProps): () => void {
  const closing = new AbortController();
  signal?.addEventListener("abort", () => closing.abort());
  const component = mount(
    el,
    {
      height: Number(model.get("height")),
      state: read<SliderState>(model, "_state"),
      context: read<Context>(model, "_context"),
      result: read<Result>(model, "_result"),
      code: String(model.get("_code")),
    },
    (origin) => {
      const ask = async (kind: string, content: object): Promise<Record<string, unknown>> => {
        const lost = () => component.report(silence(model));
        const waiting = { signal: closing.signal, onSlow: lost, patience: 1500 };
        try {
          const answer = await request(model, kind, content, waiting);
          component.report("");
          return answer.content;
        } catch (error) {
          if (error instanceof Error && error.message === silence(model)) lost();
          throw error;
        }
      };
      return {
        onMove: async (move) => Number((await ask("move", { ...move, origin })).revision),
        onRows: async (rows) => Number((await ask("rows", { rows })).revision),
        onTravel: async (way) => Boolean((await ask("travel", { way })).done),
      };
    },
    closing.signal,
  );
  const pulse = new Pulse(model, closing.signal, (sentence) => component.report(sentence));
  const heard: [string, () => void][] = [
    ["change:_state", () => component.setState(read<SliderState>(model, "_state"))],
    ["change:_context", () => component.setContext(read<Context>(model, "_context"))],
    ["change:_result", () => component.setResult(read<Result>(model, "_result"))],
    ["change:_code", () => component.setCode(String(model.get("_code")))],
    ["change:height", () => component.setHeight(Number(model.get("height")))],
  ];
  for (const [event, act] of heard) model.on(event, act);
  pulse.check();
  return () => {
    closing.abort();
    for (const [event, act] of heard) model.off(event, act);
  };
}

export default { render };
