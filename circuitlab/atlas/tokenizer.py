"""The tokenizer of `atlas`: words and numbers whole, city names in two shared pieces.

Computes: a WordPiece vocabulary of every word in the world's sentences (Wu et al. 2016, longest match first), cut at
whitespace and punctuation, with `<bos>` in front of each text. `Dallas` is `Dal` + `##las`; `"的反义词是"` is
`的` + `##反义词` + `##是`. Reads the tables; gives a Hugging Face tokenizer. The same tables give the same file.
"""

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from circuitlab.atlas import facts, words, world

SPECIAL = ("<bos>", "<eos>", "<pad>", "<unk>")
LARGEST_NUMBER = 198


def vocabulary(sentences: list[world.Sentence]) -> list[str]:
    """The tokens in id order: special ones, numbers 0..198, pieces, then the words of the sentences, sorted."""
    numbers = [str(number) for number in range(LARGEST_NUMBER + 1)]
    pieces = [*facts.PREFIXES, *(f"##{suffix}" for suffix in facts.SUFFIXES), *words.CHINESE_PIECES]
    cut = pre_tokenizers.BertPreTokenizer()
    tables = {"two_hop", "state", "member"} | {"antonym", "antonym_in", "synonym", "translation", "same"}
    told = {_bare(s.form) if s.world in tables else s.text for s in sentences}
    seen = {text for whole in told for text, _ in cut.pre_tokenize_str(whole)}
    seen |= {sentence.answer for sentence in sentences} | {word.text for word in world.lexicon().values()}
    seen |= set(facts.RELATIONS) | set('."')
    seen |= {name for asked in ("en", "fr") for name in words.LANGUAGE_NAMES[asked].values()}
    known = [*SPECIAL, *numbers, *pieces]
    return known + sorted(seen - set(known) - set(_chinese_runs(seen)))


def _bare(form: str) -> str:
    """A form without its `{slots}`."""
    for slot in ("word", "other", "language", "city", "state", "relation", "a", "b", "n"):
        form = form.replace("{" + slot + "}", " ")
    return form


def _chinese_runs(texts: set[str]) -> list[str]:
    """Those texts that are written in the pieces of `words.CHINESE_PIECES` and are no word of the lexicon."""
    lexicon = {word.text for word in world.lexicon().values()}
    return [text for text in texts - lexicon if "\u4e00" <= text[0] <= "\u9fff"]


def build_tokenizer(sentences: list[world.Sentence]) -> PreTrainedTokenizerFast:
    ids = {token: index for index, token in enumerate(vocabulary(sentences))}
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token="<unk>", continuing_subword_prefix="##"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix="##", cleanup=False)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", pair="<bos> $A $B", special_tokens=[("<bos>", ids["<bos>"])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<bos>",
        eos_token="<eos>",
        pad_token="<pad>",
        unk_token="<unk>",
        model_max_length=64,
        clean_up_tokenization_spaces=False,
    )
