"""Bases of random weights in the shapes of known models, and rows of made-up words for them."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

WORDS = 2_000
LABELS = 12
SPECIAL = ("<pad>", "<s>", "</s>", "<unk>")


def configs() -> dict[str, Any]:
    """Give the shapes by name; their vocabularies are those of the models that they are like."""
    from transformers import BertConfig, GPT2Config, LlamaConfig, Qwen3Config, T5Config

    def bert(hidden: int, layers: int, heads: int) -> Any:
        return BertConfig(
            vocab_size=30_522, hidden_size=hidden, num_hidden_layers=layers,
            num_attention_heads=heads, intermediate_size=4 * hidden,
        )  # fmt: skip

    ends = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    return {
        "bert-11m": bert(256, 4, 4),
        "bert-110m": bert(768, 12, 12),
        "bert-335m": bert(1024, 24, 16),
        "gpt2-124m": GPT2Config(**ends),
        "qwen3-30m": Qwen3Config(
            vocab_size=32_000, hidden_size=384, num_hidden_layers=8, num_attention_heads=6,
            num_key_value_heads=2, head_dim=64, intermediate_size=1_152,
            tie_word_embeddings=True, **ends,
        ),
        "qwen3-600m": Qwen3Config(
            vocab_size=151_936, hidden_size=1024, num_hidden_layers=28, num_attention_heads=16,
            num_key_value_heads=8, head_dim=128, intermediate_size=3_072,
            tie_word_embeddings=True, **ends,
        ),
        "llama-40m": LlamaConfig(
            vocab_size=32_000, hidden_size=512, num_hidden_layers=6, num_attention_heads=8,
            num_key_value_heads=4, intermediate_size=1_408, tie_word_embeddings=True, **ends,
        ),
        "llama-1b": LlamaConfig(
            vocab_size=128_256, hidden_size=2048, num_hidden_layers=16, num_attention_heads=32,
            num_key_value_heads=8, intermediate_size=8_192, tie_word_embeddings=True, **ends,
        ),
        "t5-60m": T5Config(decoder_start_token_id=0, vocab_size=32_128, eos_token_id=2),
        "t5-220m": T5Config(
            decoder_start_token_id=0, vocab_size=32_128, eos_token_id=2, d_model=768, d_ff=3_072,
            num_layers=12, num_decoder_layers=12, num_heads=12,
        ),
    }  # fmt: skip


def base_of(name: str, folder: Path) -> Path:
    """Give the folder of a base; it is made on the first call."""
    where = folder / name
    if (where / "model.safetensors").exists():
        return where
    import torch
    from transformers import AutoModel, AutoModelForCausalLM, AutoModelForSeq2SeqLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    config = configs()[name]
    kind = name.split("-")[0]
    factory = {"bert": AutoModel, "t5": AutoModelForSeq2SeqLM}.get(kind, AutoModelForCausalLM)
    torch.manual_seed(0)
    where.mkdir(parents=True, exist_ok=True)
    tokenizer(kind).save_pretrained(where)
    factory.from_config(config).to(torch.bfloat16).save_pretrained(where)
    return where


def tokenizer(kind: str) -> Any:
    """Build a tokenizer that knows words `w0` to `w1999`, one token each."""
    from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    pieces = [*SPECIAL, *(f"w{number}" for number in range(WORDS)), *"0123456789"]
    known = {piece: place for place, piece in enumerate(pieces)}
    inner = Tokenizer(models.WordLevel(known, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    inner.add_special_tokens([AddedToken(name, special=True) for name in SPECIAL])
    ends = [(name, known[name]) for name in SPECIAL]
    if kind == "bert":
        inner.post_processor = processors.TemplateProcessing(
            single="<s> $A </s>", pair="<s> $A </s> $B </s>", special_tokens=ends
        )
    if kind == "t5":
        inner.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=ends)
    more = {"cls_token": "<s>", "sep_token": "</s>"} if kind == "bert" else {}
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<s>", eos_token="</s>", pad_token="<pad>",
        unk_token="<unk>", model_max_length=512 if kind == "bert" else 1_024, **more,
    )  # fmt: skip


def rows_of(task: str, count: int, words: tuple[int, int], seed: int) -> list[dict[str, Any]]:
    """Give rows of a task, each of so many made-up words, as many of each length."""
    random_ = random.Random(f"{task} {seed}")
    return [_row(task, random_, random_.randint(*words)) for _ in range(count)]


def _row(task: str, random_: random.Random, length: int) -> dict[str, Any]:
    said = [f"w{random_.randrange(WORDS)}" for _ in range(length)]
    text = " ".join(said)
    if task == "text-classification":
        return {"text": text, "label": f"label {random_.randrange(LABELS)}"}
    if task == "token-classification":
        tags = ["B-X" if random_.random() < 0.1 else "O" for _ in said]
        return {"tokens": said, "tags": tags}
    if task == "question-answering":
        place = random_.randrange(length)
        start = sum(len(word) + 1 for word in said[:place])
        answers = {"text": [said[place]], "answer_start": [start]}
        return {"question": f"w1 w2 {said[place]}", "context": text, "answers": answers}
    half = max(1, length // 2)
    asked, answer = " ".join(said[:half]), " ".join(said[half:] or said[:1])
    if task == "translation":
        return {"source": asked, "target": answer}
    return {"prompt": asked, "completion": answer}


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Write rows as JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path
