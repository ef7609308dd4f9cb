"""Swaps, sweeps, paths, controls and validation: what is built on single interventions.

Mutations that break them: matching controls by the intervened nodes themselves, a dose curve that scales the value
instead of the change, a path hop that lets other features answer, a swap that keeps the old features, a prediction that
ignores the intervened nodes' own share.
"""

import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import circuitlab as cl
from circuitlab.atlas import world
from circuitlab.cli import main
from circuitlab.interventions.controls import matched_controls
from circuitlab.interventions.picture import edges_between, factor_of, shown_groups, tables, written
from circuitlab.pruning import influence_from
from tests.models import PROMPT, hooks_of, random_transcoder, tiny_hf_model

FORM = "fact : the capital of the state containing {city} is"
DALLAS, OAKLAND = FORM.format(city="Dallas"), FORM.format(city="Oakland")


@pytest.fixture(scope="module")
def atlas():
    return cl.load()


@pytest.fixture(scope="module")
def graph(atlas):
    return atlas.trace(DALLAS)


def tiny(family="llama", **options):
    read, write = hooks_of(family)
    return cl.load(tiny_hf_model(family), random_transcoder(input_hook=read, output_hook=write, **options))


def some_active(graph, layer, n=2):
    nodes = graph.nodes[(graph.nodes.kind == "feature") & (graph.nodes.layer == layer)]
    return nodes.sort_values("activation").id.iloc[-n:].tolist()


# ---- swap ----


def test_a_swapped_state_gives_its_capital(atlas):
    run = atlas.swap(DALLAS, "Texas", "California", OAKLAND, strength=2.0, freeze_attention=False, freeze_norms=False)
    assert run.top_tokens(1, by="before").token[0].strip() == "Austin"
    assert run.top_tokens(1, by="after").token[0].strip() == world.values_of("California")["capital"]
    there = atlas.intervene(OAKLAND, {"California": 1.0}).features.before
    set_to = run.features.loc[list(run.edits.names["California"])].after
    np.testing.assert_allclose(set_to, 2.0 * there.loc[set_to.index], rtol=1e-5)
    gone = [node for node in run.edits.names["Texas"] if node not in set_to.index]
    assert run.features.loc[gone].after.abs().max() == 0


def test_prompts_of_different_lengths_are_aligned_by_the_concepts(atlas):
    other = "the state containing Oakland is"
    run = atlas.swap(DALLAS, "Texas", "California", other)
    where = {int(node.split("_")[2]) for node in run.edits.names["California"]}
    assert where <= {10, 11}


def test_a_swap_needs_both_concepts(atlas):
    with pytest.raises(ValueError, match=r"'California' .* is not active"):
        atlas.swap(DALLAS, "Texas", "California", DALLAS)


# ---- sweep ----


def test_a_sweep_is_its_runs(atlas):
    sweep = atlas.sweep(DALLAS, "Texas", factors=[0, 1, -1.0])
    by_hand = atlas.intervene(DALLAS, {"Texas": -1.0})
    part = sweep.table[sweep.table.value == -1.0].set_index("token_id")
    np.testing.assert_allclose(part.probability, by_hand.probabilities()[1][part.index])
    untouched = sweep.table[sweep.table.value == 1]
    np.testing.assert_allclose(untouched.probability, untouched.unperturbed, atol=1e-5)
    axes = sweep.plot()
    dashed = [line for line in axes.lines if line.get_linestyle() == "--"]
    assert len(dashed) == sweep.table.token.nunique()
    assert {float(line.get_ydata()[0]) for line in dashed} == set(untouched.unperturbed)


def test_sweeps_over_end_layers_and_names(atlas):
    layers = atlas.sweep(DALLAS, "Texas", end_layers=[3, 4], factor=-1.0).table
    last = atlas.intervene(DALLAS, {"Texas": -1.0}, mode="direct")
    part = layers[layers.value == 4].set_index("token_id")
    np.testing.assert_allclose(part.probability, last.probabilities()[1][part.index], atol=1e-5)
    each = atlas.sweep(DALLAS, ["Texas", "capital"], each=True)
    assert set(each.table.value) == {"Texas", "capital"}
    assert each.plot() is not None
    with pytest.raises(ValueError, match="over one thing"):
        atlas.sweep(DALLAS, "Texas", factors=[0], end_layers=[4])
    with pytest.raises(ValueError, match="empty"):
        atlas.sweep(DALLAS, "Texas", factors=[])


# ---- paths ----


def test_an_edge_alone_moves_its_target_by_its_weight():
    model = tiny()
    graph = model.trace(PROMPT)
    (source,), (target,) = (
        some_active(graph, 0, 1),
        graph.outputs(some_active(graph, 0, 1)[0]).query("kind == 'feature'").id.iloc[:1],
    )
    edge = graph.outputs(source).set_index("id").weight[target]
    run = model.intervene(PROMPT, {source: 0.0}, along=[target])
    node = graph.node(target)
    assert list(run.edits.names) == [target]
    assert run.features.loc[target].after == pytest.approx(max(0.0, node.activation - edge), abs=1e-9)
    by_hand = model.intervene(PROMPT, {target: cl.Value(max(0.0, node.activation - edge))})
    torch.testing.assert_close(run.logits, by_hand.logits)


def test_a_path_of_features_into_the_logits():
    model = tiny(activation="relu")
    graph = model.trace(PROMPT)
    edges = graph.edges.merge(graph.nodes[["id", "layer", "activation"]], left_on="target", right_on="id")
    first = some_active(graph, 0, 1)[0]
    middle = edges[(edges.source == first) & (edges.layer == 1)].sort_values("weight").id.iloc[-1]
    run = model.intervene(PROMPT, {first: 0.5}, along=[middle, "logits"])
    change = max(0.0, graph.node(middle).activation - 0.5 * graph.outputs(first).set_index("id").weight[middle])
    change = change / graph.node(middle).activation - 1.0
    into = graph.outputs(middle).set_index("id").weight
    table = run.compare(graph)
    logits = table[table.kind == "logit"]
    assert logits.measured.abs().max() > 1e-6
    np.testing.assert_allclose(logits.measured, change * into.loc[logits.index], atol=1e-9)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ([], "must list what"),
        ("Texas", "must list what"),
        (["logits", "capital"], "can only come last"),
        (["E_53_4"], "only features can stand on a path"),
        (["fact"], "no edge leads there"),
    ],
)
def test_bad_paths_say_so(atlas, path, message):
    token = int(atlas.model.to_tokens(DALLAS)[4])
    with pytest.raises(ValueError, match=message):
        atlas.intervene(DALLAS, {"Texas": 0}, along=[f"E_{token}_4"] if path == ["E_53_4"] else path)


# ---- controls ----


def test_the_state_stands_out_from_controls(atlas):
    run = atlas.intervene(DALLAS, {"Texas": -1.0})
    verdict = run.verdict(n_controls=19, seed=3)
    assert verdict.p == pytest.approx(0.05)
    assert verdict.top_changed
    assert verdict.controls_changed < 0.2
    assert "stands out" in repr(verdict)
    named = set(run.edits.names["Texas"])
    for nodes in verdict.controls.nodes:
        assert len(nodes) == len(named) == len(set(nodes))
        assert not named & set(nodes)
    dose = verdict.dose.set_index("dose")
    assert dose.effect[0.0] == pytest.approx(0.0, abs=1e-6)
    assert dose.effect[1.0] == pytest.approx(verdict.effect)
    assert dose.effect.is_monotonic_increasing


def test_controls_write_as_much_as_the_intervention(atlas):
    run = atlas.intervene(DALLAS, {"Texas": -1.0})
    decoders = atlas.transcoder.W_dec

    def sizes(edits):
        written = []
        for edit in edits:
            before = float(run.outcome.before[edit.layer][edit.pos, edit.feature])
            written.append(abs(edit.value(before) - before) * decoders[edit.layer][edit.feature].norm().item())
        return np.array(written)

    for control in matched_controls(run, 3, seed=0):
        np.testing.assert_allclose(sizes(control.features), sizes(run.edits.features), rtol=1e-4)


def test_a_random_feature_does_not_stand_out(atlas, graph):
    weak = graph.nodes[(graph.nodes.kind == "feature") & (graph.nodes.pos == 11)].sort_values("influence").id.iloc[0]
    assert atlas.intervene(DALLAS, {weak: 0}).verdict().p > 0.2


def test_controls_that_cannot_match_say_so(atlas):
    """With nearly all features ablated what is left to draw from writes too little: that proves nothing."""
    table = atlas.intervene(DALLAS, {"Texas": 0}).features
    last = table[(table.pos == 11) & (table.before != 0)].sort_values("before")
    run = atlas.intervene(DALLAS, dict.fromkeys(last.index[1:], 0))
    verdict = run.verdict(n_controls=19)
    assert verdict.matched < 0.5
    assert "does not stand out" in verdict.text
    assert "too few others are active" in verdict.text
    assert atlas.intervene(DALLAS, {"Texas": -1.0}).verdict(n_controls=3).matched == pytest.approx(1.0, abs=1e-4)


def test_a_run_without_effect_does_not_stand_out(atlas):
    verdict = atlas.intervene(DALLAS, {"Texas": 1.0}).verdict(n_controls=3)
    assert (verdict.effect, verdict.p) == (0.0, 1.0)
    assert "nothing changes" in verdict.text


def test_a_swap_takes_features_only(atlas):
    token = int(atlas.model.to_tokens(DALLAS)[3])
    with pytest.raises(ValueError, match="only features have values"):
        atlas.swap(DALLAS, out="Texas", into=f"E_{token}_3", from_prompt=DALLAS)


def test_controls_need_features(atlas):
    with pytest.raises(ValueError, match="features of the prompt"):
        atlas.intervene(DALLAS, {"1_-1_4": 0}).verdict()


# ---- validation ----


def test_a_graph_foretells_its_knock_on_effects(atlas, graph):
    report = graph.validate(atlas, n_features=12)
    assert report.spearman > 0.75
    assert len(report.features) == 12
    near = report.distances.set_index("distance")
    assert near.normalised_error[1] < 1e-4, "one layer up the effect is the edge"
    assert near.normalised_error.max() > 0.05, "further up it is not exact by construction"
    assert sum(report.explained.values()) == pytest.approx(1.0)
    top = report.edges.iloc[0]
    edge = graph.outputs(top.source).set_index("id").weight[top.target]
    assert top.predicted == pytest.approx(-edge)
    summary = report.summary().set_index("what")
    assert summary.value["ablated features"] == 12
    assert "ablated features                              12" in repr(report), "counts are whole numbers"
    assert "paper: 0.72" in summary.reading["Spearman, all effects"]
    pairs = report.claims[(report.claims.kind == "feature") & (report.claims.distance >= 2)]
    ranks = pairs[["predicted", "measured"]].rank().corr().iloc[0, 1]
    assert report.spearman_pooled == pytest.approx(ranks)


def test_unsigned_influence_is_the_column_of_the_inverse(graph):
    """The papers' (I − Â)^{-1} − I by a dense inverse; constants take no part."""
    small = graph.prune(nodes=0.5, edges=0.9)
    n, counted = len(small.nodes), ~small.kind_mask("constant")
    dense = np.zeros((n, n))
    dense[np.repeat(np.arange(n), np.diff(small.links.indptr)), small.links.source] = np.abs(small.links.weight)
    dense[:, ~counted] = 0.0
    dense /= np.maximum(dense.sum(1, keepdims=True), 1e-10)
    inverse = np.linalg.inv(np.eye(n) - dense) - np.eye(n)
    for row in np.flatnonzero(small.kind_mask("feature"))[:5].tolist():
        np.testing.assert_allclose(influence_from(small.links, row, counted), inverse[:, row], atol=1e-6)


def test_controls_can_leave_a_group_out(atlas):
    run = atlas.intervene(DALLAS, {"Texas": -1.0})
    drawn = {edit.node for control in matched_controls(run, 5, seed=0) for edit in control.features}
    group = set(sorted(drawn)[:3])
    again = matched_controls(run, 5, seed=0, excluded=group)
    assert not group & {edit.node for control in again for edit in control.features}


def test_a_wrong_graph_foretells_less(atlas, graph):
    rng = np.random.default_rng(0)
    shuffled = type(graph.links)(graph.links.indptr, graph.links.source, rng.permutation(graph.links.weight))
    wrong = type(graph)(graph.prompt, graph.tokens, graph.nodes, shuffled, graph.metadata)
    assert wrong.validate(atlas, n_features=8).spearman < 0.3


def test_the_compared_numbers_of_the_frozen_model_agree(atlas, graph):
    texas = graph.nodes[graph.nodes.label.fillna("").str.startswith("Texas")].id.iloc[0]
    attrs = atlas.intervene(DALLAS, {texas: 0.5}, graph=graph).compare().attrs
    assert attrs["spearman"] > 0.9
    assert attrs["cosine"] > 0.9
    exact = atlas.intervene(DALLAS, {texas: 0.5}, graph=graph, mode="direct").compare().attrs
    assert exact["normalised_error"] < 1e-4


def test_explained_shares_are_sums_over_paths():
    model = tiny()
    graph = model.trace(PROMPT, targets=[5])
    report = graph.validate(model, n_features=3)
    paths = graph.paths(100_000, sources=("error",))
    assert report.explained["error"] == pytest.approx(paths.share.sum(), rel=1e-6)


def test_a_graph_of_another_model_is_refused(graph):
    with pytest.raises(ValueError, match="traced on another model: its n_layers is 5"):
        graph.validate(tiny())
    with pytest.raises(ValueError, match="at least 1"):
        graph.validate(cl.load(), n_features=0)


def test_validate_on_the_command_line(tmp_path, graph):
    path, figure = graph.save(tmp_path / "dallas.zip"), tmp_path / "report.pdf"
    result = CliRunner().invoke(main, ["validate", str(path), "--features", "4", "--json", "-o", str(figure)])
    assert result.exit_code == 0, result.output
    report = json.loads(result.output)
    assert report["summary"]["ablated features"] == 4
    assert figure.read_bytes().startswith(b"%PDF")
    wrong = CliRunner().invoke(main, ["validate", str(path), "-o", "x.txt"])
    assert wrong.exit_code == 1
    assert "a figure ends in" in wrong.output


# ---- figure ----


def test_a_run_draws_what_was_set_and_what_is_left(atlas, graph):
    run = atlas.intervene(DALLAS, {"Texas": -1.0}, graph=graph)
    shown = " ".join(text.get_text() for text in run.plot(n=3, n_groups=4, title="Dallas").figure.findobj(match_text))
    assert "Texas" in shown
    assert "Austin" in shown
    assert factor_of(run, "Texas") == pytest.approx(-1.0)
    edges = edges_between(run, {"Texas": run.edits.names["Texas"], "answer": [graph.targets.id.iloc[0]]})
    into = sum(
        graph.outputs(node).set_index("id").weight.get(graph.targets.id.iloc[0], 0) for node in run.edits.names["Texas"]
    )
    assert edges.query("target == 'answer'").weight.sum() == pytest.approx(into, rel=1e-4)
    assert atlas.intervene(DALLAS, {"Texas": -1.0}).plot() is not None


def test_what_was_set_is_drawn_as_set(atlas, graph):
    """Mutation: a token taken away, an error, and what a swap brings in were all drawn as risen "from 0", unmarked."""
    token = graph.nodes.id[graph.kind_mask("token")].iloc[4]
    for node, label in ((token, "capital"), ("2_-1_10", "error L2 at las")):
        boxes = tables(atlas.intervene(DALLAS, {node: 0.25}, graph=graph))[1].set_index("name")
        assert boxes.loc[node, ["label", "factor", "remaining"]].tolist() == [label, 0.25, 0.25]
    swapped = atlas.swap(DALLAS, "Texas", "California", DALLAS.replace("Dallas", "Oakland"), graph=graph)
    boxes = tables(swapped)[1].set_index("name")
    assert boxes.factor["California"] == np.inf
    assert np.isnan(boxes.remaining["California"])
    shown = {text.get_text() for text in swapped.plot().figure.findobj(match_text)}
    assert {"from 0", "× 0"} <= shown
    assert "× inf" not in shown
    feature = atlas.intervene(DALLAS, {"2_210_10": 0.0})
    assert tables(feature)[1].set_index("name").label["2_210_10"] == atlas.labels["L2/210"]


def test_the_groups_drawn_are_those_that_matter(atlas, graph):
    run = atlas.intervene(DALLAS, {"Texas": -1.0}, graph=graph)
    groups = shown_groups(run, 8)
    assert list(groups)[:2] == ["Texas", "say a capital"], "what was set first"
    assert 2 < len(groups) <= 8
    assert groups["Texas"] == list(run.edits.names["Texas"])
    assert len(set().union(*groups.values())) == sum(map(len, groups.values())), "no node in two groups"
    assert list(shown_groups(run, 1)) == ["Texas"]
    other = atlas.intervene(DALLAS, {"Texas": -1.0})
    unit = other.features.index[written(other) != 0]
    assert (other.features.loc[unit, "pos"] == len(graph.tokens) - 1).all()
    assert [name.removesuffix(" (?)") for name in shown_groups(other, 8)][:2] == ["Texas", "say a capital"]
    some = other.features.loc[[unit[0]]].iloc[0]
    before, after = (int(chances.argmax()) for chances in other.probabilities())
    decoder = atlas.transcoder.W_dec[int(some.layer)][int(some.feature)].detach().double().sum(0)
    towards = (atlas.model.W_U[:, after] - atlas.model.W_U[:, before]).double()
    assert written(other)[other.features.index.get_loc(unit[0])] == pytest.approx(float(decoder @ towards), rel=1e-4)


@pytest.mark.parametrize("kind", ["pdf", "svg", "png", "pgf"])
def test_a_run_is_saved_as_a_figure_the_same_twice(atlas, graph, tmp_path, kind):
    run = atlas.intervene(DALLAS, {"Texas": -1.0}, graph=graph)
    path = run.savefig(tmp_path / f"run.{kind}", width="single-column", title="Texas at −1")
    assert path.read_bytes() == run.savefig(tmp_path / f"again.{kind}", width=89, title="Texas at −1").read_bytes()
    assert path.read_bytes() != run.savefig(tmp_path / f"other.{kind}", n=2).read_bytes()
    if kind == "svg":
        assert "Intervention on Texas in" in path.read_text("utf-8")
    with pytest.raises(ValueError, match=r"figures end in .svg, .pdf, .png, .pgf"):
        run.savefig(tmp_path / "run.gif")


def match_text(artist):
    return hasattr(artist, "get_text")
