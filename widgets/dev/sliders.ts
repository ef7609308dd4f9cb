// The sliders with a made-up kernel: `npm run dev`, then http://127.0.0.1:8000/sliders.html. A run takes `?ms=…`.

import { byId } from "../src/shared/dom";
import { mount } from "../src/sliders/component";
import type { Result, RowInfo, Setting, SliderState } from "../src/sliders/state";

const row = (name: string, kind: RowInfo["kind"], own: number, vector = false): RowInfo => ({
  name,
  kind,
  title: name,
  detail: kind === "supernode" ? "5 nodes" : "L2/139 at las",
  own,
  vector,
  places: [10],
});
const KNOWN = [
  row("Texas", "supernode", 4.55),
  row("say a capital", "label", 3.66),
  row("2_139_10", "node", 4.55),
  row("E_42_9", "node", 0, true),
  row('<img src=x onerror="alert(1)"> ⁧‮rtl', "supernode", 2),
];
const patience = Number(new URLSearchParams(location.search).get("ms") ?? 40);
const PROMPT = "<bos> fact : the capital of the state containing Dal las is".split(" ");
const state: SliderState = {
  rows: KNOWN,
  factors: {},
  values: {},
  where: {},
  mode: "propagating",
  end_layer: null,
  freeze_attention: true,
  n_tokens: 4,
  revision: 1,
  origin: null,
  clicked: "2_139_10",
};
let revision = 1;
const log = byId("log");

/** Two answers and a rest, by a softmax in which Texas speaks for Austin. */
function run(setting: Setting, number: number): Result {
  const amount = (name: string) => setting.factors[name] ?? (setting.values[name] ?? 4.55) / 4.55;
  const softmax = (scores: number[]) => {
    const powers = scores.map(Math.exp);
    const sum = powers.reduce((a, b) => a + b);
    return powers.map((power) => power / sum);
  };
  const scores = (texas: number, capital: number) => softmax([3 * texas * capital, 2 * capital, 1.5, 0]);
  const before = scores(1, 1);
  const after = scores(amount("Texas"), amount("say a capital"));
  const tokens = [" Austin", " Annapolis", " Texas", " <b>bold</b>"];
  return {
    revision: number,
    error: amount("E_42_9") > 4 ? "the intervention on E_42_9 overflows: give smaller factors" : null,
    tokens: tokens.map((token, at) => ({ token, before: before[at] ?? 0, after: after[at] ?? 0 })),
    groups: KNOWN.map(({ name, own }) => ({
      name,
      before: own,
      after: own * (name === "Texas" ? amount(name) : 0.4 + 0.6 * amount("Texas")),
      set: setting.factors[name] !== undefined,
    })),
    continuation: { before: " Austin .", after: `${tokens[after.indexOf(Math.max(...after))]} .` },
    pending: false,
    ms: patience,
  };
}

const component = mount(
  byId("sliders"),
  {
    height: 560,
    state,
    context: {
      offered: KNOWN.map(({ name }) => ({ name, hint: "made up" })),
      prompt: PROMPT,
      modes: [
        { name: "propagating", says: "What is set changes the features after it, and these the next." },
        { name: "constrained", says: "Up to a layer all else holds its value." },
      ],
      layers: 5,
      text: PROMPT.join(" "),
    },
    result: run(state, 1),
    code: 'run = model.intervene("fact : …", {"Texas": -1.0})\n',
  },
  () => ({
    onMove: async (setting) => {
      const mine = ++revision;
      Object.assign(state, setting);
      log.textContent = `${JSON.stringify(setting)}\n${log.textContent ?? ""}`.slice(0, 4000);
      setTimeout(() => mine === revision && component.setResult(run(setting, mine)), patience);
      return mine;
    },
    onTravel: async () => false,
    onRows: async (rows) => {
      const unknown = rows.find((name) => !KNOWN.some((known) => known.name === name));
      if (unknown) throw new Error(`nothing is called '${unknown}'; nearest: 'Texas'`);
      const kept = rows.flatMap((name) => KNOWN.filter((known) => known.name === name));
      component.setState({ ...state, rows: kept, revision: ++revision, origin: null });
      return revision;
    },
  }),
  new AbortController().signal,
);
new EventSource("/esbuild").addEventListener("change", () => location.reload());
