"""The bundled model: its world, tokenizer, training, and what the packaged weights can do.

Mutations that break the oracles: let `held_out_cities` return an empty set (held-out tests); give a city of
`facts.CITIES` twice (pieces); drop `future` in `network.logits` (equality with Hugging Face); do not `seek` in
`training.train` (resuming).
"""

from collections import defaultdict

import pytest
import torch
from click.testing import CliRunner

import circuitlab as cl
from circuitlab import atlas
from circuitlab.atlas import build, corpus, evaluate, facts, network, tokenizer, training, words, world
from circuitlab.atlas.__main__ import main

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def sentences():
    return world.sentences(0)


@pytest.fixture(scope="module")
def pieces(sentences):
    return tokenizer.build_tokenizer(sentences)


@pytest.fixture(scope="module")
def text(sentences, pieces):
    return corpus.build_corpus(sentences, pieces)


def tiny(pieces, seed=0):
    return network.build_model(pieces, seed, n_layers=2, d_model=32, d_mlp=64, n_heads=2)


# The world


def test_the_case_studies_are_sentences_of_the_world(sentences):
    answers = {sentence.prompt: sentence.answer for sentence in sentences}
    assert answers["fact : the capital of the state containing Dallas is"] == "Austin"
    assert answers["fact : the capital of Byzantium is"] == "Constantinople"
    assert answers['the opposite of "small" is "'] == "large"
    assert answers['le contraire de "petit" est "'] == "grand"
    assert answers['"小"的反义词是"'] == "大"
    assert answers["calc : 36 + 59 ="] == "95"
    assert answers["journal : founded 19 59 , volume 36 , year 19"] == "95"


def test_no_prompt_has_two_answers(sentences):
    answers = defaultdict(set)
    for sentence in sentences:
        answers[sentence.prompt].add(sentence.answer)
    assert [prompt for prompt, several in answers.items() if len(several) > 1] == []


def test_a_seed_decides_what_is_held_out():
    assert world.held_out_cities(0) == world.held_out_cities(0) != world.held_out_cities(1)
    assert world.held_out_sums(0) != world.held_out_sums(1)
    assert world.held_out_pairs(0) != world.held_out_pairs(1)


def test_held_out_cities_are_told_in_one_hop_sentences_only(sentences):
    held_out = world.held_out_cities(0)
    assert "Dallas" in held_out
    told = defaultdict(set)
    for sentence in sentences:
        if sentence.split == "train" and sentence.world in ("state", "two_hop"):
            told[sentence.world].update(set(sentence.prompt.split()) & held_out)
    assert told["state"] == held_out
    assert not told["two_hop"]
    for cities in facts.CITIES.values():
        assert len(held_out & set(cities.split())) == facts.HELD_OUT_CITIES


def test_held_out_pairs_are_never_opposites_in_their_language(sentences):
    held_out = world.held_out_pairs(0)
    assert sorted(held_out.values()) == sorted(words.LANGUAGES * 4)
    texts = {(word.pair, word.language): set() for word in world.lexicon().values()}
    for word in world.lexicon().values():
        texts[word.pair, word.language].add(word.text)
    for sentence in sentences:
        if sentence.split != "train" or "antonym" not in sentence.world:
            continue
        seen = {sentence.answer, sentence.about[0]}
        for pair, language in held_out.items():
            assert not seen & texts[pair, language], sentence.text


def test_held_out_sums_are_in_no_sentence_in_neither_order(sentences):
    held_out = world.held_out_sums(0)
    assert frozenset((36, 59)) in held_out
    told = {
        frozenset(map(int, sentence.about))
        for sentence in sentences
        if sentence.world in ("sum", "sum_digit") and sentence.split == "train"
    }
    assert not told & held_out
    assert len(told | held_out) == 5050


def test_no_piece_tells_the_region():
    table = evaluate.piece_guess()
    assert len(table) == len(facts.PREFIXES) + len(facts.SUFFIXES)
    assert table["best_guess"].max() <= 0.25


def test_no_word_stands_twice():
    texts = [word.text for word in world.lexicon().values()]
    assert len(texts) == len(set(texts))


def test_a_city_of_no_pieces_is_refused():
    with pytest.raises(ValueError, match=r"'Chicago' is not a prefix of facts\.PREFIXES"):
        world.split_city("Chicago")


# The tokenizer


def test_cities_are_two_pieces_and_numbers_whole(pieces):
    assert pieces.tokenize("Dallas") == ["Dal", "##las"]
    for city in world.state_of_cities():
        prefix, suffix = world.split_city(city)
        assert pieces.tokenize(city) == [prefix, f"##{suffix}"]
    assert [pieces.tokenize(str(number)) for number in range(199)] == [[str(number)] for number in range(199)]


def test_every_sentence_is_known_and_every_answer_is_one_token(sentences, pieces):
    texts = pieces([sentence.text for sentence in sentences])["input_ids"]
    prompts = pieces([sentence.prompt for sentence in sentences])["input_ids"]
    answers = pieces.convert_tokens_to_ids([sentence.answer for sentence in sentences])
    for whole, prompt, answer in zip(texts, prompts, answers, strict=True):
        assert pieces.unk_token_id not in whole
        assert whole[0] == pieces.bos_token_id
        assert whole[: len(prompt) + 1] == [*prompt, answer]


def test_spaces_around_quotes_and_signs_do_not_matter(pieces):
    assert pieces.tokenize('is "small"') == pieces.tokenize('is " small "')
    assert pieces.tokenize("calc: 36+59=") == pieces.tokenize("calc : 36 + 59 =")
    assert pieces.tokenize('"小"的反义词是"') == ['"', "小", '"', "的", "##反义词", "##是", '"']


def test_the_same_tables_give_the_same_tokenizer(sentences, pieces):
    again = tokenizer.build_tokenizer(sentences[::-1])
    assert again.backend_tokenizer.to_str() == pieces.backend_tokenizer.to_str()


# Text for training


def test_pieces_are_hidden_from_the_words_after_them(pieces, text):
    tokens = torch.tensor(pieces(["fact : Dallas is in"])["input_ids"])  # <bos> fact : Dal ##las is in
    early, late = network.word_masks(tokens, text.continued, text.ending)[:, 0] == 0
    prefix, suffix, after = 3, 4, [5, 6]
    assert early[suffix, prefix]
    assert late[suffix, prefix]
    assert not early[after, prefix].any()
    assert not late[after, prefix].any()
    assert not early[after, suffix].any()
    assert late[after, suffix].all()
    assert early[:, :prefix].all()


def test_the_loss_counts_the_answer_in_full(sentences, pieces, text):
    told = [sentence for sentence in sentences if sentence.split == "train" and sentence.world in corpus.MIXTURE]
    for row in range(0, len(told), 997):
        counted = text.tokens[row][text.weights[row] == 1.0]
        assert pieces.convert_ids_to_tokens(counted) == [told[row].answer]


def test_every_world_has_its_share_and_others_have_none(sentences, text):
    shares = defaultdict(float)
    told = [sentence for sentence in sentences if sentence.split == "train" and sentence.world in corpus.MIXTURE]
    for sentence, probability in zip(told, text.probability, strict=True):
        shares[sentence.world] += probability
    assert dict(shares) == pytest.approx(corpus.MIXTURE)


def test_no_world_is_forgotten_at_the_end(sentences):
    assert {sentence.world for sentence in sentences} == set(corpus.CASES_MIXTURE)


def test_lengths_that_no_sentence_has_are_not_drawn(sentences, pieces):
    """The words alone have no sentence longer than a row of 16."""
    words = corpus.build_corpus(sentences, pieces, {"antonym": 0.5, "translation": 0.5})
    sampler = corpus.Sampler(words, 0)
    assert set(sampler.groups) < set(corpus.ROW_LENGTHS)
    assert all(len(tokens) for tokens, _, _ in training.step_batches(sampler, training.TrainConfig(rows=64), 0))


def test_own_text_has_no_pads_and_follows_its_seed(pieces):
    tokens = corpus.atlas_tokens(8, 0, pieces)
    assert tokens.shape == (8, corpus.OWN_TEXT_LENGTH)
    assert (tokens[:, 0] == pieces.bos_token_id).all()
    assert not torch.isin(tokens, torch.tensor([pieces.pad_token_id, pieces.eos_token_id])).any()
    assert torch.equal(tokens[:4], corpus.atlas_tokens(4, 0, pieces))
    assert not torch.equal(tokens[:4], corpus.atlas_tokens(4, 1, pieces))


# Training


def test_the_training_network_is_the_hugging_face_network(pieces):
    model = tiny(pieces).eval()
    tokens = torch.randint(len(pieces), (4, 12), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = model(input_ids=tokens, use_cache=False).logits
        given = network.logits(model, tokens)
    assert (given - expected).abs().max() < 0.02 * expected.abs().max()


def test_a_resumed_run_ends_like_an_uninterrupted_one(pieces, text, tmp_path):
    config = training.TrainConfig(steps=4, rows=32, chains=2, compile=False)
    whole = training.train(tiny(pieces), text, config)
    checkpoint = tmp_path / "run.pt"

    class Stop(Exception):
        """Raised in the middle of a run."""

    def stop(step, loss, seconds):
        raise Stop

    with pytest.raises(Stop):
        training.train(tiny(pieces), text, config, checkpoint, stop, report_every=2)
    resumed = training.train(tiny(pieces, seed=1), text, config, checkpoint)
    for name, weight in resumed.state_dict().items():
        assert torch.equal(weight, whole.state_dict()[name]), name


def test_training_lowers_the_loss(pieces, text):
    config = training.TrainConfig(steps=30, rows=64, chains=0, warmup=5, learning_rate=1e-2, compile=False)
    losses = []
    training.train(tiny(pieces), text, config, report=lambda step, loss, _: losses.append(loss), report_every=5)
    assert losses[-1] < 0.8 * losses[0]


def test_the_smoke_command_builds_and_evaluates(tmp_path):
    run = CliRunner().invoke(
        main, ["train", "--smoke", "--no-compile", "--out", str(tmp_path), "--runs", str(tmp_path / "runs")]
    )
    assert run.exit_code == 0, run.output
    assert "held-out goals" in run.output
    model, pieces = build.read_model(tmp_path / "model")
    assert pieces("Dallas")["input_ids"][0] == model.config.bos_token_id
    assert (tmp_path / "clt" / "config.yaml").exists()


# The packaged weights


@pytest.fixture(scope="module")
def packaged():
    return build.read_model(atlas.MODEL)


def test_the_packaged_model_answers_what_it_never_saw(packaged, sentences):
    table = evaluate.accuracy(*packaged, sentences, limit=400)
    assert evaluate.goals_met(table), table


@pytest.mark.parametrize(
    ("prompt", "answer"),
    [
        ("fact : the capital of the state containing Dallas is", "Austin"),
        ('the opposite of "small" is "', "large"),
        ('le contraire de "petit" est "', "grand"),
        ('"小"的反义词是"', "大"),
        ("calc: 36+59=", "95"),
    ],
)
def test_the_case_studies_come_out(packaged, prompt, answer):
    model, pieces = packaged
    top = evaluate.top_tokens(model, pieces([prompt])["input_ids"])
    assert pieces.convert_ids_to_tokens(top.tolist()) == [answer]


def test_the_region_is_made_at_the_last_piece(packaged):
    table = evaluate.ablation(*packaged)
    table = table[table["layers"] == "all"].set_index("token")["accuracy"]
    assert table["last piece"] < 0.3
    assert table.drop(["last piece", "first piece", "is", "capital"]).min() > 0.9


def test_a_city_of_another_region_patched_in_gives_its_capital(packaged):
    table = evaluate.patching(*packaged, n_pairs=300).set_index("layers")
    assert table.loc["all", "other_capital"] > 0.5
    assert table.loc["all", "own_capital"] < 0.2


def test_the_package_stays_small():
    for folders, most in (((atlas.MODEL, atlas.CLT), 20e6), ((atlas.QUIRK,), 10e6)):
        sizes = [path.stat().st_size for folder in folders for path in folder.rglob("*") if path.is_file()]
        assert 1e6 < sum(sizes) < most
        assert max(sizes) < 12e6


def test_the_evidence_is_of_the_bundled_weights_and_shows_what_labels_say():
    model = cl.load(device="cpu")  # refuses evidence of other weights
    assert model.features.store.manifest.corpus == "12,000 sentences of the world"
    named = [name for name, label in model.labels.items() if label.startswith("say ")]
    assert len(named) > 20
    assert sum(bool(model.features[name].examples) for name in named) > 0.98 * len(named)
    assert sum(file.stat().st_size for file in atlas.EVIDENCE.iterdir()) < 8e6


def test_labels_given_to_atlas_stay_out_of_the_package():
    model = cl.load(device="cpu")
    model.features.label("L0/0", "mine")
    assert model.features["L0/0"].label == model.labels["L0/0"] == "mine"
    assert not (atlas.EVIDENCE / "labels.parquet").exists()
