// The dashboard without Jupyter, on features of the bundled model: `npm run dev`, then /dashboard.html, with ?dark,
// ?feature=L1/419, ?empty or ?hostile. What the user does is written below; a tried text gets made-up activations.

import { Dashboard } from "../src/dashboard/component";
import type { EvidenceData } from "../src/dashboard/evidence";
import { byId } from "../src/shared/dom";
import fixture from "./dashboard.json";

const features = fixture as unknown as Record<string, EvidenceData>;
const asked = new URLSearchParams(location.search);
if (asked.has("dark")) document.documentElement.dataset.theme = "dark";
const first = asked.get("feature") ?? Object.keys(features)[0]!;
if (asked.has("hostile")) makeHostile(features[first]!);

const log = byId("log");
const tell = (what: object) => {
  log.textContent = `${JSON.stringify(what)}\n${log.textContent ?? ""}`;
};
const dashboard = new Dashboard(
  byId("dashboard"),
  {
    height: 720,
    evidence: asked.has("empty") ? null : features[first]!,
    labels: {},
    text: "fact : the capital of the state containing Dallas is",
    canTry: true,
    here: Object.keys(features),
  },
  {
    onGo: async (name) => {
      const found = features[name];
      if (!found)
        throw new Error(`the fixtures have no ${name}; they have ${Object.keys(features).join(", ")}`);
      dashboard.setEvidence(found);
    },
    onFind: async (text) =>
      Object.entries(features)
        .map(([name, { label }]): [string, string, string] => [name, label, ""])
        .filter((row) => row.join(" ").toLowerCase().includes(text.toLowerCase())),
    onLive: async (_feature, text) => {
      const tokens = text.match(/\s*\S+/g) ?? [];
      const activations = tokens.map((token) => Math.max(0, 6 * Math.sin(7 * token.length)));
      return { tokens, activations, weights: tokens.map((token) => Math.sin(token.length) / 20) };
    },
    onLabel: (feature, label) => tell({ feature, label }),
    onText: (text) => tell({ text }),
  },
  new AbortController().signal,
);
new EventSource("/esbuild").addEventListener("change", () => location.reload());

function makeHostile(shown: EvidenceData): void {
  const texts = [
    "<img src=x onerror=alert(1)>",
    "\u202etfel-ot-thgir",
    "👩\u200d🔬",
    "\n\n",
    "x".repeat(1_000_000),
    "\"&'</script>",
  ];
  shown.label = texts.join(" ").slice(0, 500);
  shown.top_logits = texts;
  shown.top_logit_weights = texts.map((_, at) => 1 - at / 10);
  for (const part of shown.examples_quantiles)
    for (const example of part.examples)
      example.tokens = example.tokens.map((token, at) => texts[at % texts.length] + token);
}
