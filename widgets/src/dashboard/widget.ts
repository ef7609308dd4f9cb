// The feature dashboard inside Jupyter: an anywidget front-end module around the component.

import { type HostModel, Pulse, request } from "../shared/host";
import { Dashboard } from "./component";
import { type LiveData, readEvidence } from "./evidence";
import type { Found } from "./finder";

interface RenderProps {
  model: HostModel;
  el: HTMLElement;
  signal?: AbortSignal;
}

/** How long changes wait for more of them before they travel. */
const GATHER = 250;

function render({ model, el, signal }: RenderProps): () => void {
  const closing = new AbortController();
  signal?.addEventListener("abort", () => closing.abort());
  let gathering = 0;
  const send = (wait: number) => {
    clearTimeout(gathering);
    gathering = window.setTimeout(() => {
      model.save_changes();
      pulse.check();
    }, wait);
  };
  const ask = async (kind: string, content: object) => {
    const onSlow = () => dashboard.report("Waiting for the kernel, which is busy or gone…");
    const answer = await request(model, kind, content, { signal: closing.signal, onSlow });
    return answer.content;
  };
  const labels = () => model.get("labels") as Record<string, string>;
  const dashboard = new Dashboard(
    el,
    {
      height: Number(model.get("height")),
      evidence: readEvidence(String(model.get("_evidence"))),
      labels: labels(),
      text: String(model.get("text")),
      canTry: Boolean(model.get("_can_try")),
      here: model.get("_here") as string[],
    },
    {
      onGo: async (feature) => {
        await ask("go", { feature });
        dashboard.report("");
      },
      onFind: async (text) => (await ask("find", { text })).found as Found[],
      onLive: async (feature, text, revision) => {
        const seen = (await ask("live", { feature, text, revision })) as unknown as LiveData;
        dashboard.report("");
        return seen;
      },
      onLabel: (feature, label) => {
        const { [feature]: _, ...others } = labels();
        model.set("labels", label ? { ...others, [feature]: label } : others);
        send(0);
      },
      onText: (text) => {
        model.set("text", text);
        send(GATHER);
      },
    },
    closing.signal,
  );
  const pulse = new Pulse(model, closing.signal, (sentence) => dashboard.report(sentence));
  const heard: [string, () => void][] = [
    ["change:_evidence", () => dashboard.setEvidence(readEvidence(String(model.get("_evidence"))))],
    ["change:labels", () => dashboard.setLabels(labels())],
    ["change:text", () => dashboard.setText(String(model.get("text")))],
    ["change:height", () => dashboard.setHeight(Number(model.get("height")))],
  ];
  for (const [event, act] of heard) model.on(event, act);
  pulse.check();
  return () => {
    closing.abort();
    clearTimeout(gathering);
    for (const [event, act] of heard) model.off(event, act);
  };
}

export default { render };
