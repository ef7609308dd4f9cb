"""The bundled model's two-hop circuit, by its features: city → state → capital, in the graph and under ablation."""

import numpy as np
import pytest
import torch

import circuitlab as cl
from circuitlab.atlas import world

FORM = "fact : the capital of the state containing {city} is"


@pytest.fixture(scope="module")
def atlas():
    return cl.load()


@pytest.fixture(scope="module")
def graph(atlas):
    return atlas.trace(FORM.format(city="Dallas"))


def test_the_answer_is_austin_and_the_graph_closes(graph):
    answer = graph.targets.iloc[0]
    assert answer.token.strip() == "Austin"
    assert answer.probability > 0.9
    assert graph.check().attrs["worst"] < 1e-5


def test_dallas_was_never_seen_in_a_two_hop_sentence():
    assert "Dallas" in world.held_out_cities(0)


def test_the_graph_runs_city_to_state_to_capital(graph):
    routes = graph.routes(5).set_index("text")
    through_texas = routes[(routes.word == "Dal·las") & routes.label.str.startswith("Texas")]
    through_capital = routes[(routes.word == "is") & routes.label.str.startswith("say a capital")]
    assert routes.label.iloc[0] == "Texas"
    assert through_texas.share.sum() > 0.5
    assert through_capital.share.sum() > 0.2
    texas = graph.nodes[graph.nodes.label.fillna("").str.startswith("Texas")]
    assert (texas.pos >= list(graph.tokens).index("las")).all()


def ablated_answer(atlas, tokens, chosen):
    """The model's top token when the chosen features, (layer, index) pairs at a position, write nothing."""
    model, transcoder = atlas.model, atlas.transcoder
    sites = [f"blocks.{layer}.hook_resid_mid" for layer in range(model.n_layers)]
    _, seen = model.capture(tokens[None], sites)
    outputs = [torch.zeros(len(tokens), model.d_model) for _ in sites]
    for pos, layer, index in chosen:
        activation = transcoder.encode(layer, seen[sites[layer]][0, pos])[index]
        for target in range(layer, model.n_layers):
            outputs[target][pos] += activation * transcoder.W_dec[layer][index, target - layer]
    edit = {f"blocks.{i}.hook_mlp_out": (lambda x, out=out: x - out) for i, out in enumerate(outputs)}
    with torch.no_grad():
        return int(model.run(tokens[None], edit=edit)[0][0, -1].argmax())


def active_features(atlas, tokens, pos):
    """(position, layer, index) of every feature that is on at a position."""
    sites = [f"blocks.{layer}.hook_resid_mid" for layer in range(atlas.model.n_layers)]
    _, seen = atlas.model.capture(tokens[None], sites)
    return [
        (pos, layer, index)
        for layer, site in enumerate(sites)
        for index in atlas.transcoder.encode(layer, seen[site][0, pos]).nonzero()[:, 0].tolist()
    ]


def test_a_state_turned_around_takes_its_capital_away(atlas):
    """Its concept, found on other cities; random features changed as much leave the answer."""
    states, held_out = world.state_of_cities(), world.held_out_cities(0)
    prompts, values = [], []
    for state in ("Texas", "Ohio", "Peru"):
        told = [city for city, where in states.items() if city not in held_out]
        inside, outside = ([c for c in told if (states[c] == state) == here] for here in (True, False))
        concept = cl.contrast(atlas, map(form, inside), map(form, outside[::3]), clearer=4.0, places=[-2])
        asked = [form(city) for city in sorted(held_out) if states[city] == state]
        prompts += asked
        values += [concept.times(-1)] * len(asked)
    runs = cl.intervene_each(atlas, prompts, values)
    excluded = {node for nodes in values for node in nodes}
    capitals = [run.top_tokens(1, by="before").token.iloc[0].strip() for run in runs]
    gone, stayed = (
        np.mean([a == b for a, b in zip(cl.answers(some), capitals, strict=True)])
        for some in (runs, cl.random_matched(runs, excluded))
    )
    assert len(prompts) >= 6
    assert gone < 0.2
    assert stayed > 0.8


def form(city):
    return FORM.format(city=city)


def test_the_state_is_in_the_features_at_the_city_and_the_answer_in_those_at_the_end(atlas):
    right = {"nothing": [], "all at the city": [], "all at the end": []}
    states = world.state_of_cities()
    for city in sorted(world.held_out_cities(0))[:36]:
        state, tokens = states[city], atlas.model.to_tokens(FORM.format(city=city))
        capital = atlas.model.tokenizer(world.values_of(state)["capital"], add_special_tokens=False)["input_ids"][0]
        end, last_piece = len(tokens) - 1, len(tokens) - 2
        at_city = active_features(atlas, tokens, last_piece)
        chosen = {
            "nothing": [],
            "all at the city": at_city,
            "all at the end": active_features(atlas, tokens, end),
        }
        for name, features in chosen.items():
            right[name].append(ablated_answer(atlas, tokens, features) == capital)
    share = {name: np.mean(answers) for name, answers in right.items()}
    assert share["nothing"] > 0.95
    assert share["all at the city"] < 0.1
    assert share["all at the end"] < 0.1


def test_the_replacement_model_agrees_and_is_sparse(atlas):
    from circuitlab.atlas.corpus import atlas_tokens

    tokens = atlas_tokens(100, 12345, atlas.model.tokenizer)
    assert atlas.agreement(tokens).top1 > 0.95
    sites = [f"blocks.{layer}.hook_resid_mid" for layer in range(atlas.model.n_layers)]
    _, seen = atlas.model.capture(tokens, sites)
    active = [(atlas.transcoder.encode(i, seen[s][:, 1:]) > 0).double().sum(-1).mean() for i, s in enumerate(sites)]
    assert np.mean(active) <= 24
