"""Train LoRA on a GPU with unsloth, on the rows and shapes of `gpu_training.py`.

    python benchmarks/gpu_unsloth.py --sizes 0.6 --rounds 2 --out result.json

unsloth changes transformers and torch for a whole process, so that it has one of its own; run
`gpu_training.py --ways trainer,tenon` before and after it on the same machine, and compare. 16-bit
LoRA of the same rank on the same layers, in transformers' Trainer with 8 rows at once, 4 times a
step, as the rival there, or with `--at-once 32` a whole step at once; rows in any order and by
length; states are kept (`use_gradient_checkpointing=False`).
"""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("UNSLOTH_DISABLE_STATISTICS", "1")

import unsloth  # noqa: I001  it changes the libraries that are imported after it
from unsloth import FastLanguageModel

import json
import statistics
import tempfile
from dataclasses import asdict
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

import gpu_ground as shared
from gpu_trainer import WithTrainer


def spell(folder: Path) -> None:
    """Write a tokenizer beside a base, as unsloth reads no base without."""
    words = {"<pad>": 0, "<eos>": 1, "<unk>": 2} | {f"w{n}": n for n in range(3, 600)}
    plain = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=plain, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>"
    )
    tokenizer.save_pretrained(folder)


class WithUnsloth(WithTrainer):
    """unsloth's model in Trainer, with the rows and settings of the rival without it."""

    def __init__(self, folder: Path, *, grouped: bool) -> None:
        model, _ = FastLanguageModel.from_pretrained(
            str(folder), max_seq_length=shared.OPTIONS.longest, dtype=shared.DTYPE,
            load_in_4bit=False,
        )  # fmt: skip
        self.model = FastLanguageModel.get_peft_model(
            model, r=shared.RANK, lora_alpha=shared.ALPHA, target_modules=shared.TARGETS,
            lora_dropout=0, bias="none", use_gradient_checkpointing=False,
        )  # fmt: skip
        self.rows = shared.trainer_rows(shared.rows_of(4096, shared.SEED))
        self.liger, self.grouped, self.turns = None, grouped, 0


def turns_of(way: WithUnsloth, name: str) -> list[dict]:
    """Take all turns of a way, and tell of them."""
    way.take(0.5)
    turns = [way.take(shared.OPTIONS.seconds) for _ in range(shared.OPTIONS.rounds)]
    rates = [turn.tokens / turn.seconds for turn in turns]
    peak = max(turn.bytes for turn in turns) / 2**30
    told = " / ".join(f"{each:,.0f}" for each in (min(rates), statistics.median(rates), max(rates)))
    shared.log(f"{name}: {told} tokens/s, {peak:.2f} GiB")
    return [asdict(turn) for turn in turns]


def main() -> None:
    """Measure every size."""
    found: dict = {"unsloth": unsloth.__version__, "torch": torch.__version__, "sizes": {}}
    with tempfile.TemporaryDirectory() as cache:
        for size in shared.OPTIONS.sizes.split(","):
            folder = shared.folder_of(size, Path(cache))
            spell(folder)
            found["sizes"][size] = {
                name: turns_of(WithUnsloth(folder, grouped=grouped), f"{size} {name}")
                for name, grouped in (("unsloth", False), ("unsloth_grouped", True))
            }
    if shared.OPTIONS.out:
        shared.OPTIONS.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
