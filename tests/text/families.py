"""Tiny tokenizers of each family of bases, and texts that are odd to them."""

from __future__ import annotations

from functools import cache

from hypothesis import strategies as st
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
)
from transformers import BertTokenizer, PreTrainedTokenizerFast

from text.templates import byte_bpe, sentence_bpe

NAMES = ("<s>", "<pad>", "</s>", "<unk>")
LETTERS = "abcdefghijklmnopqrstuvwxyzABC.,!?é我们天气很好—👍"
FAMILIES = ("bert", "roberta", "gpt2", "llama3", "qwen", "t5", "xlmr", "llama2")
AROUND = dict(zip(FAMILIES, (2, 2, 0, 1, 0, 1, 2, 1), strict=True))
PAIRED = dict(zip(FAMILIES, (3, 4, 0, 2, 0, 2, 4, 2), strict=True))


def fast(inner, single, pair):
    inner.add_special_tokens([AddedToken(name, special=True) for name in NAMES])
    ids = [(name, inner.token_to_id(name)) for name in NAMES]
    if single:
        inner.post_processor = processors.TemplateProcessing(
            single=single, pair=pair, special_tokens=ids
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        clean_up_tokenization_spaces=False,
    )


def unigram(kind):
    words = ["▁the", "▁fox", "▁quick", "▁answer", "天气", "ing", "▁a", "..."]
    pieces = [("<unk>", -20.0), ("▁", -3.0), *((word, -4.0) for word in words)]
    pieces += [(letter, -8.0) for letter in dict.fromkeys(LETTERS)]
    inner = Tokenizer(models.Unigram(pieces, unk_id=0))
    inner.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Replace(Regex(r"\s+"), " ")]
    )
    inner.pre_tokenizer = pre_tokenizers.Metaspace()
    inner.decoder = decoders.Metaspace()
    if kind == "t5":
        return fast(inner, "$A </s>", "$A </s> $B </s>")
    return fast(inner, "<s> $A </s>", "<s> $A </s> </s> $B </s>")


def bytes_of(kind):
    inner = Tokenizer.from_str(byte_bpe())
    trims = kind in ("gpt2", "roberta")
    if trims:
        inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=kind == "roberta")
    templates = {
        "roberta": ("<s> $A </s>", "<s> $A </s> </s> $B </s>"),
        "llama3": ("<s> $A", "<s> $A <s> $B"),
    }
    made = fast(inner, *templates.get(kind, ("", "")))
    if trims:
        backend = made.backend_tokenizer
        trim = processors.ByteLevel(trim_offsets=True)
        backend.post_processor = (
            trim
            if kind == "gpt2"
            else processors.RobertaProcessing(
                ("</s>", backend.token_to_id("</s>")),
                ("<s>", backend.token_to_id("<s>")),
                trim_offsets=True,
                add_prefix_space=True,
            )
        )
    return made


@cache
def family(kind):
    """A tiny tokenizer of each family."""
    if kind == "bert":
        low = LETTERS.lower()
        words = ["the", "fox", "quick", "answer", *(f"##{letter}" for letter in low), *low]
        names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
        return BertTokenizer({w: n for n, w in enumerate(dict.fromkeys([*names, *words]))})
    if kind in ("t5", "xlmr"):
        return unigram(kind)
    if kind == "llama2":
        return fast(Tokenizer.from_str(sentence_bpe("sentence")), "<s> $A", "<s> $A <s> $B")
    return bytes_of(kind)


FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467"
odd = st.sampled_from(
    [*LETTERS, *" \n\t\u3000\u00a0", "  ", "e\u0301", "\u200b", "\u200d", FAMILY, *"👍🏽①㎏ﬁ…▁"]
)
common = st.sampled_from(["the ", "fox ", " quick", "answer", "天气", " a", "ing", "Hello world"])
texts = st.lists(st.one_of(odd, common), max_size=25).map("".join)
