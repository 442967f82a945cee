"""Workspace: a plan with its data read, its base loaded and its tokens made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from os.path import basename
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from tenon.adapters.fingerprint import Fingerprint, fingerprint
from tenon.adapters.fusion_kind import Part
from tenon.adapters.fusion_parts import refuse_other_base
from tenon.adapters.kind import KINDS
from tenon.core import cache, memory
from tenon.core.errors import FileError, PlanError
from tenon.core.files import digest_of, sweep_stale
from tenon.core.progress import Progress
from tenon.data.example import Example
from tenon.data.load import Parts
from tenon.data.load import load as load_data
from tenon.data.parallel import each_path
from tenon.data.script import Script, answer_texts, script_of
from tenon.evaluate.exam import EXAMS, Exam, exam_of
from tenon.evaluate.overlap import tokenizer_of
from tenon.evaluate.settings import BY_TASK
from tenon.evaluate.write_exam import refuse_unextractable
from tenon.evaluate.write_rivals import shots_of
from tenon.model import last, threads
from tenon.model import trunk as trunks
from tenon.model.base import Base, Trained, locate, trained_pooling
from tenon.model.head import Head
from tenon.model.models import model_for
from tenon.model.trunk import Trunk
from tenon.plan import measure
from tenon.plan.plan import Plan
from tenon.text.instruction import instruction_of
from tenon.text.render import Renderer
from tenon.text.renderers import RENDERINGS, Reading
from tenon.text.row_checks import ADDED
from tenon.text.seq2seq import lead, speak
from tenon.text.text_generation_render import answer_tokens, form_of
from tenon.text.tokenizer import load_tokenizer, token_limit
from tenon.text.tokens import SCHEMA, Tokens, open_tokens, tokenize
from tenon.verbs.cells import require_slices

NORM_ROWS = 64
SCRIPT_ROWS = 1_000


@dataclass(frozen=True)
class Workspace:
    """All that a run stands on.

    Args:
        plan: settled: nothing is left to the data or the base any more.
        parts: the rows, split.
        base: where the base lies.
        trunk: the base, loaded and frozen.
        trained: how the base was pooled when it was trained.
        renderer: examples to token ids.
        classes: what the head scores.
        units: what gets class scores: "rows", "words" or "tokens".
        tokens: of each part.
        measured: what was found out about the data and the base.
        beside: another workspace on the same base, in this process.
        shared: of runs that differ in their seed alone, part to what the base without adapter
            answers, once one of them has asked; None of a run of its own.
        precision: the number format of a base on a CPU and why, where the plan left it open.
    """

    plan: Plan
    parts: Parts
    base: Base
    trunk: Trunk
    trained: Trained
    renderer: Renderer
    classes: tuple[str, ...]
    units: str
    tokens: dict[str, Tokens]
    measured: measure.Measured
    beside: Workspace | None = None
    shared: dict[str, dict[str, Any]] | None = None
    precision: str = ""

    @property
    def normalize(self) -> bool:
        """Whether the pooled vector is scaled to length 1: only if the base was trained so."""
        return self.trained.normalize and self.trained.pooling == self.plan.model.pooling

    @cached_property
    def exam(self) -> Exam:
        """How the task's rows are answered and judged."""
        plan = self.plan
        return exam_of(plan.data.task, self.renderer, plan.evaluate, plan.seed, self.shots)

    @cached_property
    def shots(self) -> tuple[Example, ...]:
        """Answered rows of train that a base may be shown, where it writes answers."""
        wanted = self.writes and "few_shot" in (self.plan.evaluate.against or ())
        return shots_of(self.parts.examples("train"), self.plan.seed) if wanted else ()

    @property
    def writes(self) -> bool:
        """Whether the base writes its answers itself, so that no head is trained."""
        return BY_TASK[self.plan.data.task].writes

    @cached_property
    def fingerprint(self) -> Fingerprint:
        """What identifies the base; every byte of it is read, once for all that share it."""
        if self.beside is not None:
            return self.beside.fingerprint
        base, quantize = self.base, self.plan.model.quantize
        return fingerprint(base.folder, base.name, base.revision, quantize)

    def of_plan(self, plan: Plan) -> Workspace:
        """Give the workspace of a plan that stands on the same, as `foundation` tells.

        Raises:
            PlanError: something is asked for that the base cannot do.
            AdapterError: the plan's fusion has parts of another base.
        """
        plan = _without_shots(plan) if self.trunk.seq2seq else plan
        made = replace(self, plan=measure.settle(plan, self.measured), beside=self.beside or self)
        refuse_foreign_parts(made)
        return made


def foundation(plan: Plan) -> str:
    """Give a digest of all that decides rows, tokens and base; plans that share it share these."""
    tables = (plan.data, plan.text, plan.model, plan.evaluate)
    settings = [table.model_dump(mode="json") for table in tables]
    # A row is no longer than a micro-batch, so its size is among what decides the tokens.
    return digest_of([plan.base, plan.seed, plan.train.micro_batch_tokens, *settings])


def open_workspace(
    plan: Plan,
    progress: Progress | None = None,
    *,
    trunk: Trunk | None = None,
    beside: Workspace | None = None,
) -> Workspace:
    """Read the data, load the base, make the tokens and settle the plan.

    Args:
        plan: what is wanted.
        progress: told of every stage.
        trunk: the plan's base, where it is loaded already.
        beside: another workspace on that trunk.

    Raises:
        TenonError: the data, the base or a setting cannot be used; nothing is written but
            token files in the cache.
    """
    base = locate(plan.base, plan.model.revision)
    if progress:
        progress.start(f"reading {each_path(plan.data.train, basename)}", None)
    parts = load_data(plan.data, plan.seed)
    require_slices(parts, plan.evaluate.slices)
    if not {"dev", "test"} & set(parts.counts):
        raise PlanError('data.dev = "" and no data.test: nothing to judge on; give one of them')
    writes = BY_TASK[plan.data.task].writes
    tokenizer = load_tokenizer(base.folder)
    speak(tokenizer, plan.text.source_language, plan.text.target_language)
    trunk = trunk or load_trunk([plan], base, lead(tokenizer) if writes else ())
    plan = _without_shots(plan) if trunk.seq2seq else plan
    shown = islice(parts.examples("train"), SCRIPT_ROWS)
    script = script_of(answer_texts(shown)) if writes else "other"
    reading = _reading(plan, parts, tokenizer, trunk, script)
    renderer = RENDERINGS.get(plan.data.task).make(tokenizer, reading)
    tokens = {part: _tokens(parts, part, renderer, plan.seed, progress) for part in parts.counts}
    for part, rows in tokens.items():
        _refuse_beyond(plan, part, rows, trunk)
    trained = trained_pooling(base.folder, decoder=trunk.decoder)
    measured = _measured(plan, trunk, trained, tokens["train"], renderer, reading, script)
    if writes:
        for rows in tokens.values():
            refuse_unextractable(rows, plan.evaluate.extract)
    settled = measure.settle(plan, measured)
    classes, units = reading.classes, reading.units
    made = Workspace(
        settled, parts, base, trunk, trained, renderer, classes, units, tokens, measured, beside
    )
    refuse_foreign_parts(made)
    return made


def _measured(
    plan: Plan,
    trunk: Trunk,
    trained: Trained,
    train: Tokens,
    renderer: Renderer,
    reading: Reading,
    script: Script,
) -> measure.Measured:
    """Give what data and base decide of the settings that were left out."""
    writes = BY_TASK[plan.data.task].writes
    return measure.Measured(
        pooling=trained.pooling,
        dtype=str(trunk.model.dtype).removeprefix("torch."),
        limit=reading.limit,
        rows=len(train),
        tokens=train.total,
        feature_norm=None if writes else _feature_norm(plan, trunk, trained, train),
        template=str(getattr(renderer, "form", "")),
        answer_tokens=answer_tokens(train) if writes else 0,
        found_tokens=reading.answer_tokens,
        instruction=reading.instruction,
        bleu_tokenizer=tokenizer_of(script),
        sort="encoder-decoder" if trunk.seq2seq else "decoder" if trunk.decoder else "encoder",
    )


def refuse_foreign_parts(space: Workspace) -> None:
    """Refuse a fusion of adapters that were trained on another base.

    Raises:
        AdapterError: one was, or is not there as the plan was made with it.
    """
    own = space.plan.adapter.own
    if KINDS.get(space.plan.adapter.kind).compound is not None:
        refuse_other_base([Part.model_validate(part) for part in own["parts"]], space.fingerprint)


def _reading(
    plan: Plan, parts: Parts, tokenizer: PreTrainedTokenizerBase, trunk: Trunk, script: Script
) -> Reading:
    """Give what decides the rows of the plan's task beside its examples."""
    limit = measure.limit(plan, token_limit(tokenizer, trunks.positions(trunk)))
    rendering = RENDERINGS.get(plan.data.task)
    longest = plan.text.answer_tokens
    if rendering.longest is not None and not longest:
        longest = rendering.longest(tokenizer, parts.examples("train"), limit)
    reading = Reading(
        rendering.classes(parts.labels, parts.columns),
        limit,
        plan.text.cut,
        rendering.units(parts.columns),
        answer_tokens=longest,
        seq2seq=trunk.seq2seq,
    )
    writes = BY_TASK[plan.data.task].writes
    return _written(reading, plan, tokenizer, script) if writes else reading


def load_trunk(plans: Sequence[Plan], base: Base, first: Sequence[int] = ()) -> Trunk:
    """Load the base of some plans with all that any of them needs of it.

    Args:
        plans: all of one base and with the same settings of it.
        base: where it lies.
        first: what stands before every answer of an encoder-decoder.
    """
    pooler = any(plan.model.pooling == "pooler" for plan in plans)
    writes = any(BY_TASK[plan.data.task].writes for plan in plans)
    if trunks.pick_device(plans[0].model.device).type == "cpu":
        memory.give_back_large_blocks()
        threads.fit()
    trunk = trunks.load(base, plans[0].model, pooler=pooler, writes=writes, lead=first)
    return trunk if writes else last.proved(trunk)


def _written(
    reading: Reading, plan: Plan, tokenizer: PreTrainedTokenizerBase, script: Script
) -> Reading:
    """Give the reading with what decides how prompts are written."""
    text, seq2seq = plan.text, reading.seq2seq
    form = form_of(tokenizer, text.template, reading.units, seq2seq=seq2seq)
    asked = instruction_of(text.instruction, plan.data.task, form, script, seq2seq=seq2seq)
    return replace(reading, template=text.template, instruction=asked)


def _without_shots(plan: Plan) -> Plan:
    """Give the plan of an encoder-decoder, which is shown no examples.

    Raises:
        PlanError: that is asked for.
    """
    against = plan.evaluate.against or ()
    if "few_shot" not in against:
        return plan
    if plan.origins.get("evaluate.against", "default") != "default":
        raise PlanError(
            "evaluate.against: few_shot has no effect, as an encoder-decoder is not shown "
            "examples; remove it"
        )
    kept = tuple(name for name in against if name != "few_shot")
    return plan.decided({"evaluate.against": kept})


def _feature_norm(plan: Plan, trunk: Trunk, trained: Trained, tokens: Tokens) -> float:
    """Give the mean length of what the head reads of some rows, spread over the part.

    Raises:
        FileError: it is no finite number above 0.
    """
    chosen = plan.model.pooling
    pooling = trained.pooling if chosen == "auto" else chosen
    normalize = trained.normalize and trained.pooling == pooling
    head = Head(trunk.hidden_size, 1, normalize=normalize, bias=False)
    rows = np.unique(np.linspace(0, len(tokens) - 1, NORM_ROWS).astype(np.int64))
    task = plan.data.task
    bare = model_for(task, trunk, None, head, pooling)
    features_UD = EXAMS.get(task).features(
        bare, tokens.take(rows), batch_tokens=plan.evaluate.batch_tokens
    )
    norm = float(np.linalg.norm(features_UD, axis=1).mean())
    if not 0 < norm < float("inf"):
        raise FileError(
            f"base {plan.base}: its hidden states are not finite, or all 0, on rows of train; is "
            "the download whole? If model.dtype is float16, use bfloat16 or float32"
        )
    return norm


def _tokens(
    parts: Parts, part: str, renderer: Renderer, seed: int, progress: Progress | None
) -> Tokens:
    """Give the tokens of a part, from the cache if the same were made before."""
    # The sources are part of it, as the tokens hold the origins of their rows.
    sources, columns = dict(parts.route.sources), SCHEMA.names
    tokenizer = _digest(renderer.tokenizer)
    made_of = [columns, parts.digest, sources, seed, part, renderer.digest, tokenizer]
    path = cache.folder() / "tokens" / f"{digest_of(made_of)[:32]}.arrow"
    if path.exists():
        return open_tokens(path, renderer.limit)
    if progress:
        progress.start(f"tokens of {part}", parts.counts[part])
    sweep_stale(path.parent)
    return tokenize(parts.examples(part), renderer, path, progress)


def embeddings(trunk: Trunk) -> int:
    """Give how many tokens the base has embeddings for."""
    table: Any = trunk.model.get_input_embeddings()
    return int(table.weight.shape[0])


def _refuse_beyond(plan: Plan, part: str, rows: Tokens, trunk: Trunk) -> None:
    """Refuse rows with a token that was added to the tokenizer, and not to the base.

    Raises:
        PlanError: there is one.
    """
    count = embeddings(trunk)
    if rows.highest >= count:
        raise PlanError(
            f"base {plan.base}: its tokenizer gives token {rows.highest:,} to rows of {part}, and "
            f"it has embeddings for {count:,}; {ADDED}"
        )


def _digest(tokenizer: PreTrainedTokenizerBase) -> str:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    return digest_of(backend.to_str() if backend is not None else sorted(tokenizer.get_vocab()))
