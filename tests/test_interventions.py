"""Interventions against the model itself, run with plain hooks: each mode's equation, six families.

The oracles use `Model.run` with edits and the transcoder's own encode and decode, layer by layer, on a single row;
nothing of circuitlab.interventions. Mutations that break them: decoding into one layer only, forgetting the held
errors, letting a held layer answer, reading row 1's pattern, dropping the skip's answer.
"""

import dataclasses

import numpy as np
import pytest
import torch

import circuitlab as cl
from circuitlab.local_replacement import _sites as frozen_sites
from tests.models import FAMILIES, N_LAYERS, PROMPT, hooks_of, random_transcoder, tiny_hf_model

TOKENS = torch.tensor([PROMPT])
FROZEN_AND_LIVE = [(True, True), (False, True), (True, False), (False, False)]


def tiny(family="llama", kind="clt", **options):
    read, write = hooks_of(family)
    transcoder = random_transcoder(kind, **{"input_hook": read, "output_hook": write, **options})
    return cl.load(tiny_hf_model(family), transcoder)


def sites_of(model):
    config = model.transcoder.config
    layers = range(config.n_layers)
    return [f"blocks.{i}.{config.input_hook}" for i in layers], [f"blocks.{i}.{config.output_hook}" for i in layers]


def active(model, layer, n=2, seed=0):
    """Ids of some active features of a layer, position 0 left out, and their activations."""
    reads, _ = sites_of(model)
    _, seen = model.model.capture(TOKENS, [reads[layer]])
    activation = model.transcoder.encode(layer, seen[reads[layer]][0])
    activation[0] = 0
    where = activation.nonzero()
    chosen = where[torch.randperm(len(where), generator=torch.Generator().manual_seed(seed))[:n]].tolist()
    return {f"{layer}_{feature}_{pos}": activation[pos, feature].item() for pos, feature in chosen}


def perturbed_by_hand(model, values, mode, end_layer, attention, norms):
    """(pre-activations per layer, logits) of the model with features set to `values`, one layer after the other."""
    reads, writes = sites_of(model)
    transcoder = model.transcoder
    _, seen = model.model.capture(TOKENS, [*frozen_sites(model.model, transcoder), *reads, *writes])
    pinned = [s for s in seen if (attention and s.endswith("pattern")) or (norms and s.endswith("hook_scale"))]
    before = [transcoder.encode(i, seen[s][0]) for i, s in enumerate(reads)]
    now = [x.clone() for x in before]
    pre = [None] * N_LAYERS

    def read(layer):
        def hook(x):
            pre[layer] = transcoder.pre_activations(layer, x[0])
            live[layer] = x
            if mode == "propagating":
                now[layer] = transcoder.encode(layer, x[0])
                now[layer][0] = before[layer][0]
            for node, value in values.items():
                at, feature, pos = map(int, node.split("_"))
                if at == layer:
                    now[layer][pos, feature] = value
            return x

        return hook

    def write(layer):
        def hook(out):
            if mode == "constrained" and layer > end_layer:
                return out
            base = out if mode == "steering" else seen[writes[layer]].clone()
            first = 0 if transcoder.config.kind == "clt" else layer
            for source in range(first, layer + 1):
                base = base + (now[source] - before[source]) @ transcoder.W_dec[source][:, layer - source]
            if transcoder.W_skip is not None and mode != "steering":
                base = base + (live[layer] - seen[reads[layer]]) @ transcoder.W_skip[layer].T
            return base

        return hook

    live = {}
    edit = {site: (lambda _, site=site: seen[site]) for site in pinned}
    edit |= {site: read(i) for i, site in enumerate(reads)} | {site: write(i) for i, site in enumerate(writes)}
    with torch.no_grad():
        logits, _ = model.model.run(TOKENS, edit=edit)
    return pre, logits[0]


def check_against_hand(model, mode, attention, norms, end_layer=None):
    nodes = active(model, 0) | active(model, 1)
    amounts = dict(zip(nodes, (-1.0, cl.Value(0.7), cl.Added(0.4), 2.5), strict=True))
    values = dict(zip(nodes, [-1.0, 0.7, 0.4, 2.5], strict=True))
    for node, amount in amounts.items():
        values[node] = {cl.Value: 0.7, cl.Added: nodes[node] + 0.4}.get(type(amount), nodes[node] * values[node])
    run = model.intervene(
        PROMPT, amounts, mode=mode, freeze_attention=attention, freeze_norms=norms, end_layer=end_layer
    )
    pre, logits = perturbed_by_hand(model, values, mode, 1 if end_layer is None else end_layer, attention, norms)
    assert (run.logits - run.baseline_logits)[-1].abs().max() > 1e-4, "the intervention must be felt"
    torch.testing.assert_close(run.logits, logits, atol=1e-9, rtol=1e-8)
    for layer in range(N_LAYERS):
        torch.testing.assert_close(run.outcome.pre_after[layer], pre[layer], atol=1e-9, rtol=1e-8)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("mode", ["propagating", "direct", "constrained", "steering"])
def test_every_mode_is_its_equation(family, mode):
    for attention, norms in FROZEN_AND_LIVE:
        check_against_hand(tiny(family, "clt", skip=True), mode, attention, norms)


@pytest.mark.parametrize("mode", ["propagating", "direct", "constrained", "steering"])
@pytest.mark.parametrize("options", [{"kind": "plt"}, {"activation": "topk", "k": 5}, {"activation": "jumprelu"}])
def test_other_transcoders(mode, options):
    check_against_hand(tiny("llama", **options), mode, True, True)
    check_against_hand(tiny("llama", **options), mode, False, False)


@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_other_hook_points_and_a_later_end_layer(family):
    model = tiny(family, input_hook="mlp.hook_in", output_hook="mlp.hook_out")
    for mode, end_layer in (("propagating", None), ("constrained", 1), ("constrained", 2)):
        for frozen in (True, False):
            check_against_hand(model, mode, frozen, frozen, end_layer)


@pytest.mark.parametrize("family", FAMILIES)
def test_direct_mode_is_the_edge_column(family):
    model = tiny(family, skip=True)
    graph = model.trace(PROMPT)
    for node in [*active(model, 0, 3), *active(model, 1, 2)]:
        run = model.intervene(PROMPT, {node: 3.0}, mode="direct", graph=graph)
        edges = graph.outputs(node).set_index("id").weight * 2.0
        table = run.compare().measured
        assert edges.abs().max() > 1e-4
        np.testing.assert_allclose(table.loc[edges.index], edges, atol=1e-8 * edges.abs().max(), rtol=0)


def test_errors_and_tokens_act_by_their_edges():
    model = tiny("gpt2")
    graph = model.trace(PROMPT)
    for node in ("1_-1_4", f"E_{PROMPT[3]}_3"):
        run = model.intervene(PROMPT, {node: -1.0}, mode="direct")
        live = model.intervene(PROMPT, {node: -1.0}, mode="direct", freeze_norms=False)
        edges = graph.outputs(node).set_index("id").weight * -2.0
        measured = run.compare(graph).measured
        np.testing.assert_allclose(measured.loc[edges.index], edges, atol=1e-8 * edges.abs().max(), rtol=0)
        assert (live.logits - run.logits).abs().max() > 1e-6


def test_a_factor_of_one_changes_nothing():
    model = tiny("gemma2")
    for mode in ("propagating", "direct", "constrained", "steering"):
        run = model.intervene(PROMPT, dict.fromkeys(active(model, 0), 1.0), mode=mode)
        torch.testing.assert_close(run.logits, model.model.logits(TOKENS)[0], atol=1e-10, rtol=1e-10)
        assert run.features.difference.abs().max() < 1e-10


def test_a_weight_changed_in_place_is_noticed():
    model = tiny()
    (node,) = active(model, 0, 1)
    before = model.intervene(PROMPT, {node: 0})
    with torch.no_grad():
        model.transcoder.W_dec[0].mul_(2.0)
    after = model.intervene(PROMPT, {node: 0})
    assert (before.logits - after.logits).abs().max() > 1e-6


# ---- what a request may say ----


@pytest.fixture(scope="module")
def atlas():
    return cl.load()


DALLAS = "fact : the capital of the state containing Dallas is"


def test_a_label_names_its_features_and_their_place(atlas):
    run = atlas.intervene(DALLAS, {"Texas": 0})
    labels = run.features.loc[list(run.edits.names["Texas"])].label
    assert set(labels.str.split().str[0]) == {"Texas"}
    assert run.features.loc[list(run.edits.names["Texas"])].after.abs().max() == 0
    assert run.remaining().loc[lambda t: t.index.str.startswith("Texas")].remaining.max() == 0
    assert run.top_tokens(1, by="before").token[0].strip() == "Austin"
    top = run.top_tokens(5)
    assert list(top.columns) == ["token_id", "token", "before", "after", "difference"]
    assert top.difference.iloc[0] < -0.01


def test_supernodes_of_the_graph_and_of_the_session(atlas):
    graph = atlas.trace(DALLAS)
    texas = graph.nodes[graph.nodes.label.fillna("").str.startswith("Texas")].id.tolist()
    grouped = graph.annotate(supernodes=dict.fromkeys(texas, "the state"))
    by_graph = atlas.intervene(DALLAS, {"the state": -1.0}, graph=grouped)
    by_session = atlas.intervene(DALLAS, {"mine": -1.0}, supernodes={"mine": texas})
    by_label = atlas.intervene(DALLAS, {"Texas": -1.0})
    torch.testing.assert_close(by_graph.logits, by_label.logits)
    torch.testing.assert_close(by_session.logits, by_label.logits)
    assert list(by_graph.remaining().index) == ["the state"]
    assert by_graph.remaining().remaining.item() == pytest.approx(-1.0)


def test_places(atlas):
    node = next(n for n in atlas.intervene(DALLAS, {"Texas": 0}).edits.names["Texas"] if n.endswith("_10"))
    feature = "L{}/{}".format(*node.split("_"))

    def where(positions, amount):
        run = atlas.intervene(DALLAS, {feature: amount}, positions=positions)
        return [int(n.split("_")[2]) for n in run.edits.names[feature]]

    value = cl.Value(1.0)
    assert where("las", -1.0) == [10]
    assert where([3, "las", -1], value) == [3, 10, 11]
    assert where(slice(-2, None), value) == [10, 11]
    assert where(cl.Onward("Dal"), value) == [9, 10, 11]
    assert where({feature: 5}, value) == [5]
    assert where(None, value)[0] == 10


def test_nodes_act_where_they_stand_and_nowhere_else(atlas):
    """Mutation: positions that do not hold a node's place are passed over, and the run is of another request."""
    node = first_feature(atlas)
    at = int(node.rpartition("_")[2])
    plain = atlas.intervene(DALLAS, {node: 0})
    for places in (at, {node: slice(at, at + 1)}, slice(1, None)):
        torch.testing.assert_close(atlas.intervene(DALLAS, {node: 0}, positions=places).logits, plain.logits)
    for places in (at - 1, {"mine": "capital"}, cl.Onward(at), {"mine": cl.Onward(1)}):
        with pytest.raises(ValueError, match=f"'mine': the node {node} stands .*one place.*L3/55"):
            atlas.intervene(DALLAS, {"mine": 0}, supernodes={"mine": [node]}, positions=places)


def test_several_prompts_at_once(atlas):
    prompts = [DALLAS, DALLAS.replace("Dallas", "Houston")]
    runs = atlas.intervene(prompts, {"Texas": 0})
    assert [run.top_tokens(1, by="before").token[0].strip() for run in runs] == ["Austin", "Austin"]
    torch.testing.assert_close(runs[0].logits, atlas.intervene(DALLAS, {"Texas": 0}).logits)
    with pytest.raises(ValueError, match=r"prompt 1 of 2: 'Texas' .* is not active"):
        atlas.intervene([DALLAS, DALLAS.replace("Dallas", "Oakland")], {"Texas": 0})


@pytest.mark.parametrize("family", ["gemma2", "gpt2"])
def test_a_batch_is_its_prompts_one_by_one(family, monkeypatch):
    """Right padding must not be seen: different lengths, features, errors and tokens, every mode, in float64.

    Mutations: padding in front, one prompt's pattern for all rows, edits placed in row 0 only.
    """
    together, apart = tiny(family, skip=True), tiny(family, skip=True)
    prompts = [PROMPT, PROMPT[:4], [PROMPT[0], 7, 8, 15, *PROMPT]]
    request = {"L0/3": cl.Added(1.5), "L1/5": cl.Value(0.8), "1_-1_2": -1.0, "0_-1_3": 2.0}
    options = {"positions": {"L0/3": slice(1, None), "L1/5": -1}}
    passes = []
    plain = type(together.model).run
    for mode in ("propagating", "direct", "constrained", "steering"):
        for attention, norms in FROZEN_AND_LIVE:
            options |= {"mode": mode, "freeze_attention": attention, "freeze_norms": norms}
            alone = [apart.intervene(prompt, request, **options) for prompt in prompts]
            monkeypatch.setattr(type(together.model), "run", lambda *a, **k: passes.append(1) or plain(*a, **k))
            runs = together.intervene(prompts, request, **options)
            monkeypatch.undo()
            for one, run in zip(alone, runs, strict=True):
                assert (one.logits - one.baseline_logits)[-1].abs().max() > 1e-4, "the intervention must be felt"
                torch.testing.assert_close(run.logits, one.logits, atol=1e-10, rtol=1e-10)
                torch.testing.assert_close(run.baseline_logits, one.baseline_logits, atol=1e-10, rtol=1e-10)
                for ours, theirs in zip(run.outcome.pre_after, one.outcome.pre_after, strict=True):
                    torch.testing.assert_close(ours, theirs, atol=1e-10, rtol=1e-10)
    assert len(passes) == 1 + 3 * 2 + 4 * 2, "one pass for the baselines, one for each setting that is not frozen"


def test_numbers_may_be_numpys_and_rows_a_tensors(atlas):
    feature = first_feature(atlas)
    feature = "L{}/{}".format(*feature.split("_"))
    plain, other = (atlas.intervene(DALLAS, {feature: half}, positions=10) for half in (0.5, np.float32(0.5)))
    torch.testing.assert_close(plain.logits, other.logits)
    rows = torch.stack([atlas.model.to_tokens(DALLAS), atlas.model.to_tokens(DALLAS.replace("Dallas", "Houston"))])
    assert len(atlas.intervene(rows, {"Texas": 0})) == 2


def test_a_run_shows_its_likeliest_tokens_before_and_after(atlas):
    shown = repr(atlas.intervene(DALLAS, {"Texas": -1.0}, freeze_attention=False, freeze_norms=False))
    assert "'Austin' (>99.9%) →" in shown


def test_tokens_are_edited_in_their_own_prompt():
    model, prompts = tiny(), [PROMPT, [*PROMPT[:3], 40]]
    for frozen in (True, False):
        options = {"freeze_attention": frozen, "mode": "direct"}
        runs = model.intervene(prompts, {f"E_{PROMPT[1]}_1": 0.0}, **options)
        for prompt, run in zip(prompts, runs, strict=True):
            alone = tiny().intervene(prompt, {f"E_{PROMPT[1]}_1": 0.0}, **options)
            torch.testing.assert_close(run.logits, alone.logits, atol=1e-10, rtol=1e-10)
            assert (run.logits - run.baseline_logits)[1].abs().max() > 1e-4


def first_feature(atlas):
    return next(iter(atlas.intervene(DALLAS, {"Texas": 0}).edits.names["Texas"]))


BAD = {
    "a feature that does not exist": ({"L2/99999": 0}, {}, r"no feature L2/99999.*nearest: L2/2559"),
    "a layer that does not exist": ({"L9/5": 0}, {}, r"no feature L9/5: layers run from 0 to 4"),
    "a misspelt label": ({"Texs": 0}, {}, r"nothing is called 'Texs'; nearest: .*Texas"),
    "a feature that is off": ({"Peru": 2.0}, {}, r"is not active in this prompt.*model.swap"),
    "a position outside": ({"Texas": 0}, {"positions": 12}, r"position 12 is outside the prompt of 12 tokens"),
    "a token that is not there": ({"Texas": 0}, {"positions": "capitol"}, r"no token 'capitol'; nearest: 'capital'"),
    "a node outside": ({"2_5_40": 0}, {}, r"at position 40; the prompt has 12 tokens"),
    "a supernode of another graph": ({"x": 0}, {"supernodes": {"x": ["2_5_40"]}}, r"'x' belongs to another graph"),
    "an empty supernode": ({"x": 0}, {"supernodes": {"x": []}}, r"supernode 'x' is empty"),
    "a logit": ({"6_275_11": 0}, {}, r"is a logit"),
    "a value for an error": ({"1_-1_4": cl.Value(2.0)}, {}, r"is a vector"),
    "another token": ({"E_3_4": 0}, {}, r"no node 'E_3_4'; the token there is"),
    "nothing": ({}, {}, r"must map names to amounts"),
    "no number": ({"Texas": "off"}, {}, r"'off' is no number"),
    "not finite": ({"Texas": float("nan")}, {}, r"not finite"),
    "too large": ({"Texas": 1e38}, {}, r"overflows"),
    "too large in the model": ({"say a capital": 1e38}, {"freeze_norms": False}, r"overflows"),
    "an unknown mode": ({"Texas": 0}, {"mode": "constraned"}, r"did you mean 'constrained'"),
    "an end layer outside": ({"Texas": 0}, {"mode": "constrained", "end_layer": 7}, r"outside the model's layers"),
    "an end layer before": ({"Texas": 0}, {"mode": "constrained", "end_layer": 0}, r"end_layer=0 lies before layer"),
    "an end layer elsewhere": ({"Texas": 0}, {"end_layer": 3}, r"belongs to mode='constrained'"),
    "stray positions": ({"Texas": 0}, {"positions": {"Ohio": 3}}, r"names 'Ohio', which is not intervened on"),
    "too many tokens": ({"Texas": 0}, {"n_tokens": 500}, r"exceed the context"),
    "an error that is none": ({"3_-7_10": 0}, {}, r"nothing is called '3_-7_10'"),
    "a line behind a node": ({"1_147_10\n": 0}, {}, r"nothing is called"),
    "an integer beyond floats": ({"Texas": 10**400}, {}, r"not finite"),
    "a supernode that is text": ({"x": 0}, {"supernodes": {"x": "1_147_10"}}, r"expected a list of node ids"),
    "a slice of text": ({"Texas": 0}, {"positions": slice("a")}, r"a slice has whole numbers"),
    "a path back to itself": ({"Texas": 0}, {"along": ["Texas"]}, r"is what acts, so it cannot also be what receives"),
    "a seed too long": ({"Texas": 0}, {"n_tokens": 1, "seed": 2**70}, r"must fit into 64 bits"),
    "a temperature below 0": ({"Texas": 0}, {"n_tokens": 1, "temperature": -1}, r"must be 0"),
}


@pytest.mark.parametrize(("request_", "options", "message"), BAD.values(), ids=BAD.keys())
def test_bad_input_says_so(atlas, request_, options, message):
    with pytest.raises(ValueError, match=message):
        atlas.intervene(DALLAS, request_, **options)


@pytest.mark.parametrize(
    ("batch", "message"),
    [([DALLAS, ""], "prompt 1 of 2: the prompt '' is empty"), ([DALLAS, "a " * 99], "prompt 1 of 2: .* at most 64")],
)
def test_a_batch_says_which_prompt_is_wrong(atlas, batch, message):
    with pytest.raises(ValueError, match=message):
        atlas.intervene(batch, {"Texas": 0})


def test_a_graph_with_features_that_the_model_lacks_is_refused(atlas):
    graph = atlas.trace(DALLAS)
    nodes = graph.nodes.copy()
    row = int(np.flatnonzero(graph.kind_mask("feature"))[0])
    nodes.loc[row, ["id", "feature"]] = ["0_5000_1", 5000]
    with pytest.raises(ValueError, match="no feature L0/5000"):
        atlas.intervene(DALLAS, {"0_5000_1": 0}, graph=dataclasses.replace(graph, nodes=nodes))


def test_a_graph_of_another_prompt_is_refused(atlas):
    graph = atlas.trace(DALLAS.replace("Dallas", "Oakland"))
    with pytest.raises(ValueError, match="of another prompt"):
        atlas.intervene(DALLAS, {"Texas": 0}, graph=graph)
    with pytest.raises(ValueError, match="of another prompt"):
        atlas.intervene(DALLAS, {"Texas": 0}).compare(graph)


def test_one_node_under_two_names_is_refused(atlas):
    with pytest.raises(ValueError, match="name it once"):
        atlas.intervene(DALLAS, {"Texas": 0, first_feature(atlas): 2.0})


@pytest.mark.parametrize(("prompt", "options"), [(DALLAS, {}), ([DALLAS, DALLAS[:-3]], {}), (DALLAS, {"n_tokens": 3})])
def test_an_interrupted_run_leaves_no_hook(atlas, monkeypatch, prompt, options):
    def count():
        return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in atlas.model.bridge.modules())

    def interrupt(*_):
        raise KeyboardInterrupt

    before, encode = count(), type(atlas.transcoder).activate
    monkeypatch.setattr(type(atlas.transcoder), "activate", interrupt)
    with pytest.raises(KeyboardInterrupt):
        atlas.intervene(prompt, {"2_3_10": cl.Value(1.0)}, mode="steering", **options)
    monkeypatch.setattr(type(atlas.transcoder), "activate", encode)
    assert count() == before
    run = atlas.intervene(DALLAS, {"2_3_10": cl.Value(1.0)}, freeze_attention=False)
    torch.testing.assert_close(run.baseline_logits, atlas.model.logits(atlas.model.to_tokens(DALLAS)[None])[0])


# ---- generation ----


@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("mode", ["propagating", "constrained", "steering"])
def test_the_cache_gives_the_text_without_it(mode, frozen):
    model = tiny("gemma2")
    nodes = active(model, 0)
    amounts = {f"L0/{node.split('_')[1]}": cl.Added(3.0) for node in nodes}
    options = {"mode": mode, "freeze_attention": frozen, "freeze_norms": frozen, "positions": cl.Onward(2)}
    run = model.intervene(PROMPT, amounts, n_tokens=8, **options)
    tokens = list(PROMPT)
    for token in run.generated:
        assert int(model.intervene(tokens, amounts, **options).logits[-1].argmax()) == token
        tokens.append(token)
    assert len(run.generated) == 8
    plain = model.intervene(PROMPT, {next(iter(nodes)): 1.0}, n_tokens=8)
    assert plain.continuation == plain.baseline_continuation
    assert run.continuation != plain.continuation


def test_a_continuation_that_overflows_is_refused_and_no_temperature_is_too_low():
    model = tiny("llama")
    node = next(iter(active(model, 0)))
    cold = model.intervene(PROMPT, {node: 0}, n_tokens=3, temperature=1e-310)
    assert cold.generated == model.intervene(PROMPT, {node: 0}, n_tokens=3).generated
    with torch.no_grad():
        model.transcoder.W_dec[0].mul_(1e200)
    options = {"mode": "steering", "positions": cl.Onward(-1), "n_tokens": 4}
    with pytest.raises(ValueError, match="overflows"):
        model.intervene(PROMPT, {"L0/3": cl.Added(1e200)}, **options)


def test_sampling_follows_its_seed():
    model = tiny()
    node = next(iter(active(model, 0)))
    first, again, other = (
        model.intervene(PROMPT, {node: 0}, n_tokens=10, temperature=1.5, seed=seed).generated for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other
