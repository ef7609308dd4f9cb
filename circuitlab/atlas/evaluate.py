"""What `atlas` can do, and the proof that it computes it.

Computes, for a model and the world's sentences:

1. accuracy per world and split: the share of sentences whose answer is the model's top token after the prompt;
2. what the tokens of a city give away: the best guess of its region from one piece alone;
3. ablation: capitals of held-out cities still right when the MLP outputs at one position are replaced by their mean
   over the prompts. The region of a city has to be made by the MLPs at its last piece;
4. patching: MLP outputs at the city's last piece taken from another region's city; the share of random ordered pairs
   whose answer becomes the other region's capital (interchange interventions, Geiger et al. 2021).

Reads a Hugging Face model and its tokenizer; gives tables.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

from circuitlab.atlas import facts, world

# What the model card promises of sentences that training never saw.
GOALS = {"two_hop": 0.95, "antonym": 0.90, "sum": 0.95}
CASES = ("couplet opening", "couplet adjective", "couplet rhyme", "check", "person", "nobody", "harmful", "harmless")
CASES += ("spell", "comply", "realise", "acronym", "faithful", "motivated", "motivated second")
GOALS |= dict.fromkeys(CASES, 0.90)
PROOF_PROMPT = "fact : the capital of the state containing {city} is"
CITY_LAST_PIECE = 10  # of the tokens of PROOF_PROMPT: <bos> fact : the capital of the state containing Dal ##las is


@torch.no_grad()
def top_tokens(model: LlamaForCausalLM, prompts: list[list[int]], batch: int = 512) -> Int[np.ndarray, " prompt"]:
    """The model's top token after each prompt; prompts of one length run together, so that none is padded."""
    by_length: dict[int, list[int]] = defaultdict(list)
    for row, prompt in enumerate(prompts):
        by_length[len(prompt)].append(row)
    top = np.zeros(len(prompts), dtype=np.int64)
    for rows in by_length.values():
        for start in range(0, len(rows), batch):
            part = rows[start : start + batch]
            tokens = torch.tensor([prompts[row] for row in part])
            top[part] = model(input_ids=tokens, use_cache=False).logits[:, -1].argmax(-1).numpy()
    return top


def accuracy(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerBase,
    sentences: list[world.Sentence],
    limit: int | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Columns world, split, questions, right, accuracy; at most `limit` sentences of each world and split."""
    rng = np.random.default_rng(seed)
    groups: dict[tuple[str, str], list[world.Sentence]] = defaultdict(list)
    for sentence in sentences:
        groups[sentence.world, sentence.split].append(sentence)
    records = []
    for (name, split), members in groups.items():
        if limit is not None and len(members) > limit:
            members = [members[row] for row in rng.choice(len(members), limit, replace=False)]
        top = top_tokens(model, tokenizer([sentence.prompt for sentence in members])["input_ids"])
        answers = tokenizer.convert_tokens_to_ids([sentence.answer for sentence in members])
        right = int((top == np.array(answers)).sum())
        records.append((name, split, len(members), right, right / len(members)))
    return pd.DataFrame(records, columns=["world", "split", "questions", "right", "accuracy"])


def goals_met(table: pd.DataFrame) -> bool:
    held_out = table[table["split"] == "held_out"].set_index("world")["accuracy"]
    return all(held_out[name] >= goal for name, goal in GOALS.items())


def piece_guess() -> pd.DataFrame:
    """Per city piece: how many cities have it and the largest share of them that lies in one region."""
    states: dict[str, Counter[str]] = defaultdict(Counter)
    for city, state in world.state_of_cities().items():
        prefix, suffix = world.split_city(city)
        states[prefix][state] += 1
        states[f"##{suffix}"][state] += 1
    records = [
        (piece, counts.total(), counts.most_common(1)[0][1] / counts.total()) for piece, counts in states.items()
    ]
    return pd.DataFrame(records, columns=["piece", "cities", "best_guess"])


Edit = Callable[[int, Tensor], Tensor]  # layer, MLP output [batch, pos, d_model] -> the output to use instead


@contextmanager
def edited_mlps(model: LlamaForCausalLM, edit: Edit) -> Iterator[None]:
    blocks: Any = model.model.layers
    handles = [
        block.mlp.register_forward_hook(lambda _module, _inputs, output, layer=layer: edit(layer, output))
        for layer, block in enumerate(blocks)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def _mlp_outputs(model: LlamaForCausalLM, tokens: Int[Tensor, "batch pos"]) -> list[Float[Tensor, "batch pos d_model"]]:
    outputs: list[Tensor] = []

    def keep(_layer: int, output: Tensor) -> Tensor:
        outputs.append(output.clone())
        return output

    with edited_mlps(model, keep):
        model(input_ids=tokens, use_cache=False)
    return outputs


@torch.no_grad()
def _top(model: LlamaForCausalLM, tokens: Int[Tensor, "batch pos"], edit: Edit) -> Int[Tensor, " batch"]:
    with edited_mlps(model, edit):
        return model(input_ids=tokens, use_cache=False).logits[:, -1].argmax(-1)


def _proof_prompts(
    tokenizer: PreTrainedTokenizerBase, cities: list[str]
) -> tuple[Int[Tensor, "batch pos"], Int[Tensor, " batch"]]:
    """The prompts' tokens and the tokens of the right capitals."""
    tokens = torch.tensor(tokenizer([PROOF_PROMPT.format(city=city) for city in cities])["input_ids"])
    states = world.state_of_cities()
    capitals = [world.values_of(states[city])["capital"] for city in cities]
    return tokens, torch.tensor(tokenizer.convert_tokens_to_ids(capitals))


def ablation(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase, seed: int = 0) -> pd.DataFrame:
    """Share of held-out cities whose capital is still right when one position's MLP outputs are their mean.

    Columns position, token, layers ("all" or one layer), accuracy. Position 0 (<bos>) sees no city and is left out.
    """
    tokens, capitals = _proof_prompts(tokenizer, sorted(world.held_out_cities(seed)))
    means = [output.mean(0) for output in _mlp_outputs(model, tokens)]
    names = tokenizer.convert_ids_to_tokens(tokens[0].tolist())
    names[CITY_LAST_PIECE - 1 : CITY_LAST_PIECE + 1] = ["first piece", "last piece"]
    records = []
    for position in range(1, tokens.shape[1]):
        for chosen in ["all", *range(len(means))]:

            def edit(layer: int, output: Tensor, position: int = position, chosen: str | int = chosen) -> Tensor:
                if chosen in ("all", layer):
                    output = output.clone()
                    output[:, position] = means[layer][position]
                return output

            right = (_top(model, tokens, edit) == capitals).float().mean().item()
            records.append((position, names[position], str(chosen), right))
    return pd.DataFrame(records, columns=["position", "token", "layers", "accuracy"])


def patching(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase, n_pairs: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """Share of random pairs whose answer becomes the other city's capital, by the MLP layers that were patched.

    Columns layers ("all", "0", "0-1", ...), pairs, other_capital, own_capital.
    """
    states = world.state_of_cities()
    cities = list(states)
    rng = np.random.default_rng([seed, 5])
    drawn = rng.integers(len(cities), size=(4 * n_pairs, 2))
    pairs = [(a, b) for a, b in drawn.tolist() if states[cities[a]] != states[cities[b]]][:n_pairs]
    here, there = np.array(pairs).T
    tokens, capitals = _proof_prompts(tokenizer, cities)
    outputs = _mlp_outputs(model, tokens)
    last_layer = len(outputs) - 1
    records = []
    for last in range(last_layer + 1):

        def edit(layer: int, output: Tensor, last: int = last) -> Tensor:
            if layer <= last:
                output = output.clone()
                output[:, CITY_LAST_PIECE] = outputs[layer][there, CITY_LAST_PIECE]
            return output

        top = _top(model, tokens[here], edit)
        other = (top == capitals[there]).float().mean().item()
        own = (top == capitals[here]).float().mean().item()
        name = "all" if last == last_layer else "0" if last == 0 else f"0-{last}"
        records.append((name, len(pairs), other, own))
    return pd.DataFrame(records, columns=["layers", "pairs", "other_capital", "own_capital"])


def chance_of_a_capital() -> float:
    return 1 / len(facts.CITIES)
