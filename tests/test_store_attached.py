"""A store attached to a model: evidence, labels and densities from the harvest, refused where it is another's."""

import dataclasses

import pytest
from models import PROMPT, random_transcoder, tiny_hf_model
from stores import small_store

import circuitlab as cl
from circuitlab.features import logit_weights
from circuitlab.harvest.fingerprint import fingerprint
from circuitlab.replacement import ReplacementModel

TEXTS = [[3, 14, 15, 92], [53, 58, 9]]


@pytest.fixture(scope="module")
def loaded():
    return ReplacementModel(cl.load_model(tiny_hf_model("llama")), random_transcoder("clt"), {"L1/5": "Texas"})


def prints(loaded, **changes):
    config = loaded.transcoder.config
    transcoder = {
        "name": "t",
        "fingerprint": fingerprint(loaded.transcoder),
        "kind": "clt",
        "n_layers": config.n_layers,
        "n_features": config.n_features,
    }
    return {"model": {"name": "m", "fingerprint": fingerprint(loaded.model)}, "transcoder": transcoder, **changes}


@pytest.fixture
def folder(loaded, tmp_path):
    config = loaded.transcoder.config
    return small_store(tmp_path / "store", config.n_layers, config.n_features, **prints(loaded))


@pytest.fixture
def model(loaded, folder):
    return ReplacementModel(loaded.model, loaded.transcoder, {"L1/5": "Texas"})


def test_evidence_comes_from_the_harvest_and_the_weights(model, folder):
    plain = model.features["L1/5"]
    features = model.features.attach(folder)
    harvested, stored = features["L1/5"], cl.Store(folder)["L1/5"]
    for part in ("activation_histogram", "density", "largest", "note"):
        assert getattr(harvested, part) == getattr(stored, part)
    assert harvested.note == "Harvested from some stories: 1,000 tokens."
    assert {part: harvested.sources[part] for part in ("examples", "density", "activation_histogram", "promoted")} == {
        "examples": "harvest", "density": "harvest", "activation_histogram": "harvest", "promoted": "weights"
    }  # fmt: skip
    for part in ("promoted", "suppressed", "reads_from", "writes_to", "logit_histogram", "label"):
        assert getattr(harvested, part) == getattr(plain, part)
    weights = logit_weights(model.model, model.transcoder, 1, 5)
    assert harvested.examples[0].logit_weights == tuple(weights[[0, 1, 3]].tolist())
    assert [dataclasses.replace(e, logit_weights=None) for e in harvested.examples] == list(stored.examples)
    never = features["L0/0"]
    assert (never.examples, never.density) == ((), 0.0)
    assert never.missing["examples"] == "Active on none of the 1,000 tokens read."
    assert "some stories" in repr(features)


def test_shown_texts_win_over_a_harvest_until_it_is_attached_again(model, folder):
    features = model.features.attach(folder)
    assert features.show_texts(TEXTS)["L1/5"].note.startswith("No evidence harvested yet")
    assert features.attach(folder)["L1/5"].note.startswith("Harvested from")
    assert features.with_texts(TEXTS).store is features.store


def test_labels_are_one_for_store_features_graphs_and_interventions(model, folder):
    store = cl.Store(folder)
    model.features.attach(store)
    store.label("L2/3", "from elsewhere")
    model.features.label((0, 4), "mine")
    assert model.features.labels == model.labels == {"L1/5": "Texas", "L2/3": "from elsewhere", "L0/4": "mine"}
    assert cl.Store(folder).labels["L0/4"] == "mine"
    assert model.features["L0/4"].label == "mine"
    model.features.label("L1/5", "")
    assert "L1/5" not in model.features.labels
    graph = model.trace(PROMPT)
    labels = {f"L{n.layer}/{n.feature}": n.label for n in graph.nodes.itertuples() if n.kind == "feature"}
    assert {name: labels[name] for name in model.labels if name in labels} == {
        name: label for name, label in model.labels.items() if name in labels
    }
    again = ReplacementModel(model.model, model.transcoder, {"L1/5": "Texas"})
    assert again.features.attach(folder).labels == {"L2/3": "from elsewhere", "L0/4": "mine"}


def test_without_a_store_labels_last_as_long_as_the_model(model):
    model.features.label("L0/1", " here ")
    assert (model.labels["L0/1"], model.features["L0/1"].label) == ("here", "here")
    model.features.label("L0/1", "")
    assert "L0/1" not in model.features.labels
    assert model.features.densities == {}
    for what in (lambda: model.features.search("a"), lambda: model.features.filter(layer=1)):
        with pytest.raises(ValueError, match="attach a store first"):
            what()


def test_graphs_know_the_densities_of_their_own_features(model, folder, tmp_path):
    assert "densities" not in model.trace(PROMPT).metadata
    model.features.attach(folder)
    graph = model.trace(PROMPT, max_features=20)
    features = graph.nodes[graph.nodes["kind"] == "feature"]
    names = {f"L{layer}/{index}" for layer, index in zip(features["layer"], features["feature"], strict=True)}
    assert graph.metadata["densities"] == {name: model.features.densities[name] for name in names}
    assert cl.Graph.open(graph.save(tmp_path / "graph.json")).metadata["densities"] == graph.metadata["densities"]


def test_search_and_filter_go_to_the_store(model, folder):
    features = model.features.attach(folder)
    features.label("L1/3", "hares")
    assert features.search("hares")["name"].tolist() == ["L1/3"]
    assert features.filter(label="hare")["name"].tolist() == ["L1/3"]


def test_top_for_is_the_largest_activations_on_the_text(model, folder):
    table = model.features.top_for(PROMPT, n=10_000)
    for row in table.sample(5, random_state=0).itertuples():
        seen = model.features.live(PROMPT, row.layer, row.index)
        assert max(seen.activations) == pytest.approx(row.activation)
        assert seen.activations[row.position] == pytest.approx(row.activation)
        assert seen.tokens[row.position] == row.token
    graph = model.trace(PROMPT)
    features = graph.nodes[graph.nodes["kind"] == "feature"]
    assert len(table) == len(features[["layer", "feature"]].drop_duplicates())
    assert table["activation"].is_monotonic_decreasing
    assert table["share"].isna().all()
    model.features.attach(folder)
    best = model.features.top_for(PROMPT, n=3)
    assert best["name"].tolist() == table["name"].tolist()[:3]
    known = model.features[best["name"][0]]
    assert best["density"][0] == known.density
    assert best["share"][0] == pytest.approx(best["activation"][0] / known.largest)


def test_a_store_of_another_model_or_transcoder_is_refused(loaded, tmp_path):
    config = loaded.transcoder.config
    fresh = ReplacementModel(loaded.model, loaded.transcoder, {})
    for what in ("model", "transcoder"):
        changed = prints(loaded)
        changed[what] = {**changed[what], "fingerprint": "0" * 64}
        folder = small_store(tmp_path / what, config.n_layers, config.n_features, **changed)
        with pytest.raises(ValueError, match=f"was harvested with another {what}: its fingerprint is 000000000000…"):
            fresh.features.attach(folder)
    other = random_transcoder("clt", seed=5)
    good = small_store(tmp_path / "good", config.n_layers, config.n_features, **prints(loaded))
    with pytest.raises(ValueError, match="another transcoder"):
        ReplacementModel(loaded.model, other, {}).features.attach(good)
    assert fresh.features.store is None


def test_load_takes_evidence(loaded, folder):
    model = cl.load(loaded.model, loaded.transcoder, evidence=folder)
    assert model.features.store.folder == folder
    cl.Store(folder).label("L1/3", "hares")
    assert cl.load(loaded.model, loaded.transcoder, evidence=folder).labels["L1/3"] == "hares"
    with pytest.raises(FileNotFoundError, match="no store of feature evidence"):
        cl.load(loaded.model, loaded.transcoder, evidence=folder.parent)


def test_an_imported_store_is_attached_by_size(model, folder, tmp_path):
    cl.Store(folder).export(tmp_path / "json")
    imported = cl.Store.from_files(tmp_path / "json", tmp_path / "imported")
    evidence = model.features.attach(imported)["L1/5"]
    assert evidence.density == 0.05
    assert evidence.examples == cl.Store(folder)["L1/5"].examples
    large = cl.Store.from_files(cl.Store(small_store(tmp_path / "large", 9)).export(tmp_path / "l"))
    with pytest.raises(ValueError, match="belongs to another transcoder: it has features up to L8/4"):
        model.features.attach(large)
