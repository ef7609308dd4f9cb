"""The adapter: tokens in and out, named sites, nothing left behind, bad input refused with a reason."""

import json
import sys
import threading

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, GraniteConfig

from circuitlab.model import _token_ids, load_model
from tests.models import D_VOCAB, FAMILIES, N_LAYERS, PROMPT, STORIES, needs_stories, tiny_hf_model


@pytest.fixture(scope="module")
def stories():
    return load_model(STORIES)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 3e-6), (torch.float32, 3e-5), (torch.bfloat16, 0.1)])
def test_logits_are_those_of_hugging_face(family, dtype, tolerance):
    hf_model, tokens = tiny_hf_model(family, dtype), torch.tensor([PROMPT])
    with torch.no_grad():
        expected = hf_model(tokens).logits
    logits = load_model(hf_model).logits(tokens)
    assert logits.dtype == dtype
    torch.testing.assert_close(logits, expected, atol=tolerance, rtol=tolerance)


def test_a_model_in_memory_is_copied():
    hf_model = tiny_hf_model("llama")
    before = {name: type(module) for name, module in hf_model.named_modules()}
    load_model(hf_model)
    assert {name: type(module) for name, module in hf_model.named_modules()} == before
    assert all(parameter.requires_grad for parameter in hf_model.parameters())


def test_a_folder_is_loaded_without_the_network(tmp_path, monkeypatch):
    tiny_hf_model("llama", torch.float32).save_pretrained(tmp_path)
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("touched the network"))
    with pytest.warns(UserWarning, match="no tokenizer"):
        model = load_model(tmp_path)
    assert model.n_layers == N_LAYERS
    with pytest.raises(ValueError, match="no tokenizer: give token ids"):
        model.to_tokens("text")


@pytest.mark.parametrize("family", FAMILIES)
def test_block_weights_have_the_shapes_they_name(family):
    model = load_model(tiny_hf_model(family))
    block = model.block_weights(1)
    attention = block.attention
    assert attention.W_O.shape == (4, 8, 32)
    assert attention.W_V.shape[1:] == (32, 8)
    assert 4 % attention.W_V.shape[0] == 0
    assert block.parallel == (family == "neox")
    assert (block.ln1_post is not None) == family.startswith("gemma")
    assert model.W_U.shape == (32, D_VOCAB)


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ([], "the prompt is empty"),
        ([1, D_VOCAB], rf"\[{D_VOCAB}\] are outside the vocabulary .*: 0 to {D_VOCAB - 1}"),
        ([-1], "outside the vocabulary"),
        ([1] * 33, "33 tokens, but .* reads at most 32"),
        (torch.tensor([1.5]), "must be integers"),
        ([True], "must be integers"),
    ],
)
def test_bad_token_ids_are_refused(prompt, message):
    with pytest.raises(ValueError, match=message):
        load_model(tiny_hf_model("llama")).to_tokens(prompt)


@needs_stories
def test_text_gets_one_bos_and_keeps_its_spaces(stories):
    tokens = stories.to_tokens("Once upon a time")
    assert tokens[0] == stories.tokenizer.bos_token_id
    assert stories.to_tokens("<s>Once upon a time").tolist() == tokens.tolist()
    assert stories.token_strings(tokens) == ["<s>", " Once", " upon", " a", " time"]


@needs_stories
@pytest.mark.parametrize("prompt", ["", "  \n"])
def test_an_empty_prompt_is_refused(stories, prompt):
    with pytest.raises(ValueError, match="is empty"):
        stories.to_tokens(prompt)


@needs_stories
def test_stories_continues_as_its_origin_says(stories):
    tokens = stories.to_tokens("Once upon a time").tolist()
    for _ in range(12):
        tokens.append(int(stories.logits(torch.tensor([tokens]))[0, -1].argmax()))
    assert "".join(stories.token_strings(tokens)).startswith("<s> Once upon a time, there was a little girl")


def test_an_unknown_site_is_refused_with_near_ones():
    model = load_model(tiny_hf_model("neox"))
    with pytest.raises(ValueError, match=r"no hook site 'blocks\.0\.hook_resid_mid'; near it: blocks\.0\.hook_resid"):
        model.run(torch.tensor([PROMPT]), capture=["blocks.0.hook_resid_mid"])


def test_an_interrupt_leaves_no_hook_behind():
    model, tokens = load_model(tiny_hf_model("llama")), torch.tensor([PROMPT])
    before = model.logits(tokens)

    def interrupt(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model.run(tokens, edit={"blocks.0.hook_mlp_out": torch.zeros_like, "blocks.1.hook_mlp_out": interrupt})
    assert torch.equal(model.logits(tokens), before)
    assert not any(hook.fwd_hooks for hook in model.bridge.hook_dict.values())


def test_edits_are_seen_by_what_follows():
    model, tokens = load_model(tiny_hf_model("llama")), torch.tensor([PROMPT])
    edit = {"blocks.1.hook_mlp_out": torch.zeros_like}
    logits, seen = model.run(tokens, capture=["blocks.1.hook_mlp_out"], edit=edit)
    assert not seen["blocks.1.hook_mlp_out"].any()
    assert not torch.allclose(logits, model.logits(tokens))


def test_nan_in_weights_is_refused_by_name():
    hf_model = tiny_hf_model("llama")
    with torch.no_grad():
        hf_model.model.layers[1].mlp.up_proj.weight[0, 0] = float("nan")
    with pytest.raises(ValueError, match=r"model\.layers\.1\.mlp\.up_proj\.weight holds NaN"):
        load_model(hf_model)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        load_model(tmp_path / "nowhere" / "else")
    (tmp_path / "config").mkdir()
    with pytest.raises(FileNotFoundError, match=r"has no config\.json"):
        load_model(tmp_path / "config")


def test_an_architecture_without_mlps_is_refused(tmp_path):
    from transformers import MambaConfig, MambaForCausalLM

    mamba = MambaForCausalLM(MambaConfig(vocab_size=20, hidden_size=16, num_hidden_layers=2, state_size=4))
    with pytest.raises(ValueError, match="Mamba"):
        load_model(mamba)


def test_a_damaged_config_is_an_error_not_a_download(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"})[:10])
    with pytest.raises((OSError, ValueError), match=r"config\.json|JSON"):
        load_model(tmp_path)


def test_two_threads_see_their_own_activations():
    model, site = load_model(tiny_hf_model("llama")), "blocks.1.hook_mlp_out"
    prompts = [torch.tensor([PROMPT]), torch.tensor([PROMPT[:4]])]
    expected = [model.capture(tokens, [site])[1][site] for tokens in prompts]
    wrong = []

    def work(which):
        for _ in range(20):
            seen = model.capture(prompts[which], [site])[1][site]
            wrong.extend([which] * (not torch.equal(seen, expected[which])))

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    threads = [threading.Thread(target=work, args=(which,)) for which in (0, 1)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert not wrong


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        (None, "not NoneType"),
        (5, "not int"),
        (b"text", "not bytes"),
        ({"a": 1}, "not dict"),
        (torch.tensor([[1, 2], [3, 4]]), r"shape \[2, 2\]; expected one prompt"),
        ([np.float64(1.0)], "must be integers"),
    ],
)
def test_prompts_of_another_kind_are_refused(prompt, message):
    with pytest.raises(ValueError, match=message):
        _token_ids(prompt)


def test_numpy_ids_are_ids():
    assert _token_ids(np.array([3, 4])) == [3, 4]
    assert _token_ids(torch.tensor([[3, 4]])) == [3, 4]


@needs_stories
def test_half_a_character_is_refused(stories):
    with pytest.raises(ValueError, match="half of a character"):
        stories.to_tokens("Once \udcff upon")


@pytest.mark.parametrize("option", ["residual_multiplier", "logits_scaling"])
def test_factors_that_attribution_does_not_follow_are_refused(option):
    config = GraniteConfig(
        vocab_size=20, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, **{option: 0.5}
    )
    with pytest.raises(ValueError, match=f"{option} = 0.5"):
        load_model(AutoModelForCausalLM.from_config(config))
