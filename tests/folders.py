"""Tiny bases as folders on disk: config, safetensors and a tokenizer, as `tenon` is given them."""

from __future__ import annotations

import string
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast
from transformers.utils import logging

from bases import POSITIONS, VOCAB, tiny

TYPED = ("bert", "electra")
ROBERTA_LIKE = ("roberta", "xlm-roberta")
BERT_LIKE = (*TYPED, *ROBERTA_LIKE, "distilbert", "modernbert")
WITH_BOS = ("llama", "mistral")
FRAMED = ("bart",)

# fmt: off
WORDS = (
    "the", "a", "and", "i", "is", "it", "of", "or", "was", "for", "to", "day", "early",
    "parcel", "glad", "sad", "tired", "old", "dog", "fox", "red", "by", "river", "best",
    "worst", "good", "bad", "my", "money",
)
# fmt: on
SIGNS = "12+=.,;!?"


def base_folder(cache: Path, arch: str) -> Path:
    """Give the folder of the tiny base of `arch` under `cache`; it is made on the first call.

    The weights are those of `bases.tiny(arch)`, the pooler included where there is one.
    """
    folder = cache / arch
    if not folder.exists():
        logging.disable_progress_bar()
        tiny(arch).save_pretrained(folder)
        tokenizer(arch).save_pretrained(folder)
    return folder


def tokenizer(arch: str) -> PreTrainedTokenizerFast:
    """Build the tokenizer of the tiny base of `arch`: at most 100 tokens, ids as in its config.

    Bert-likes get WordPiece with a template for pairs; the others get BPE, of which llama and
    mistral put a beginning before a text, t5 an end after it, bart both, and the rest nothing.
    Letters, `WORDS` and `SIGNS` are known; any other character is the unknown token, or, for
    qwen2 (as transformers builds its tokenizer), nothing.
    """
    if arch in BERT_LIKE:
        return _wordpiece(arch)
    return _bpe(arch)


def _wordpiece(arch: str) -> PreTrainedTokenizerFast:
    specials = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"]
    if arch in ROBERTA_LIKE:
        specials = ["[CLS]", "[PAD]", "[SEP]", "[UNK]", "[MASK]"]
    letters = string.ascii_lowercase
    pieces = [*specials, *SIGNS, *letters, *(f"##{letter}" for letter in letters)]
    pieces += [word for word in WORDS if len(word) > 1]
    vocabulary = {piece: place for place, piece in enumerate(pieces)}
    assert len(vocabulary) <= VOCAB
    inner = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    inner.normalizer = normalizers.BertNormalizer(lowercase=True)
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    border = "[SEP] [SEP]" if arch in ROBERTA_LIKE else "[SEP]"
    second = "" if arch in ROBERTA_LIKE else ":1"
    inner.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair=f"[CLS] $A {border} $B{second} [SEP]{second}",
        special_tokens=[(name, vocabulary[name]) for name in ("[CLS]", "[SEP]")],
    )
    names = ["input_ids", "token_type_ids", "attention_mask"]
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        cls_token="[CLS]",
        sep_token="[SEP]",
        pad_token="[PAD]",
        unk_token="[UNK]",
        mask_token="[MASK]",
        model_input_names=names if arch in TYPED else [names[0], names[2]],
        model_max_length=POSITIONS - 2 * (arch in ROBERTA_LIKE),
    )


def _bpe(arch: str) -> PreTrainedTokenizerFast:
    specials = ["<pad>", "</s>", "<unk>"] if arch == "t5" else ["<pad>", "<s>", "</s>", "<unk>"]
    blank = "▁" if arch == "t5" else "Ġ"
    pieces = [*specials, *SIGNS, *string.ascii_letters, blank]
    merges: list[tuple[str, str]] = []
    for word in WORDS:
        for end in range(1, len(word) + 1):
            first, second = blank + word[: end - 1], word[end - 1]
            if first + second not in pieces and len(pieces) < VOCAB:
                merges.append((first, second))
                pieces.append(first + second)
    vocabulary = {piece: place for place, piece in enumerate(pieces)}
    inner = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Metaspace() if arch == "t5" else pre_tokenizers.ByteLevel()
    inner.add_special_tokens([AddedToken(name, special=True) for name in specials])
    ends = [(name, vocabulary[name]) for name in specials]
    if arch in WITH_BOS:
        inner.post_processor = processors.TemplateProcessing(
            single="<s> $A", pair="<s> $A <s> $B", special_tokens=ends
        )
    if arch in FRAMED:
        inner.post_processor = processors.TemplateProcessing(
            single="<s> $A </s>", pair="<s> $A </s> $B </s>", special_tokens=ends
        )
    if arch == "t5":
        inner.post_processor = processors.TemplateProcessing(
            single="$A </s>", pair="$A </s> $B </s>", special_tokens=ends
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        bos_token=None if arch == "t5" else "<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        model_input_names=["input_ids", "attention_mask"],
    )
