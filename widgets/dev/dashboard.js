// A model as anywidget would give it, answering from fixtures what the kernel would answer.
import widget from "../../circuitlab/static/dashboard.js";

const asked = new URLSearchParams(location.search);
document.documentElement.dataset.theme = asked.has("dark") ? "dark" : "light";
const features = await (await fetch("dashboard.json")).json();
const first = asked.get("feature") ?? Object.keys(features)[0];

const HOSTILE = [
  "<img src=x onerror=alert(1)>",
  "\u202etfel-ot-thgir",
  "👩‍🔬",
  "\n\n",
  "x".repeat(1_000_000),
  "\"&'</script>",
];
if (asked.has("hostile")) {
  const shown = features[first];
  shown.label = HOSTILE.join(" ").slice(0, 500);
  shown.top_logits = HOSTILE;
  shown.top_logit_weights = HOSTILE.map((_, at) => 1 - at / 10);
  for (const part of shown.examples_quantiles)
    for (const example of part.examples)
      example.tokens = example.tokens.map((t, at) => HOSTILE[at % HOSTILE.length] + t);
}

const traits = {
  feature: first,
  labels: {},
  text: "fact : the capital of the state containing Dallas is",
  height: 720,
  _can_try: true,
  _evidence: asked.has("empty") ? "" : JSON.stringify(features[first]),
};
const listeners = new Map();
const tell = (event, ...values) => {
  for (const act of [...(listeners.get(event) ?? [])]) act(...values);
};
const set = (name, value) => {
  traits[name] = value;
  tell(`change:${name}`);
};

function answer({ kind, feature, text }) {
  if (kind === "go") {
    if (!features[feature])
      throw new Error(`the fixtures have no ${feature}; they have ${Object.keys(features).join(", ")}`);
    set("_evidence", JSON.stringify(features[feature]));
  }
  if (kind === "find") {
    const rows = Object.entries(features).map(([name, { label }]) => [name, label]);
    return { found: rows.filter((row) => row.join(" ").toLowerCase().includes(text.toLowerCase())) };
  }
  if (kind === "live") {
    const tokens = text.match(/\s*\S+/g) ?? [];
    const activations = tokens.map((token) =>
      Math.max(0, 3 * Math.sin(7 * token.length + token.charCodeAt(1))),
    );
    return { tokens, activations, weights: tokens.map((token) => Math.sin(token.length) / 4) };
  }
  return {};
}

const model = {
  get: (name) => traits[name],
  set: (name, value) => {
    traits[name] = value;
  },
  save_changes() {},
  on: (event, act) => listeners.set(event, [...(listeners.get(event) ?? []), act]),
  off: (event, act) =>
    listeners.set(
      event,
      (listeners.get(event) ?? []).filter((other) => other !== act),
    ),
  send(content) {
    setTimeout(() => {
      try {
        tell("msg:custom", { id: content.id, answer: answer(content) }, []);
      } catch (error) {
        tell("msg:custom", { id: content.id, error: error.message }, []);
      }
    }, 20);
  },
};
widget.render({ model, el: document.getElementById("here") });
