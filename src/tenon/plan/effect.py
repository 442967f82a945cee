"""Effect: which given settings would change nothing, or cannot hold together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Set
from pathlib import Path, PurePath

from tenon.adapters.kind import KINDS
from tenon.core.errors import PlanError, did_you_mean
from tenon.data.parallel import split_pair
from tenon.data.settings import Columns
from tenon.data.spec import HUB
from tenon.data.task import TASKS
from tenon.evaluate.extractors import extractor
from tenon.evaluate.settings import BY_TASK, FEWEST_ROWS
from tenon.plan.evidence import EVIDENCE
from tenon.plan.plan import SOURCES, Plan
from tenon.plan.table import Told
from tenon.plan.task import HEADS, OPTIONS, READING, TOKENS, WRITING
from tenon.text.instruction import AUTO, CHAT
from tenon.text.settings import PLACE

TYPED = (".jsonl", ".json", ".parquet")
COMPRESSED = (".gz", ".xz", ".zst")
LISTS = (
    "data.labels",
    "data.columns.flags",
    "evaluate.scorers",
    "evaluate.against",
    "evaluate.forgetting",
    "train.trackers",
)

Finding = tuple[str, str, str]
Rule = Callable[[Plan, Set[str]], Iterator[Finding]]


def tell_idle(plan: Plan, given: Set[str], told: Told) -> None:
    """Tell each setting in `given` that has no effect in this plan, or contradicts another.

    Args:
        plan: all settings.
        given: dotted names of those that the file or an argument sets.
        told: where it is told.
    """
    for rule in RULES:
        for dotted, what, remedy in rule(plan, given):
            told.add(dotted, what, remedy)


def _overlap(plan: Plan, given: Set[str]) -> Iterator[Finding]:
    if "data.overlap" in given and not isinstance(plan.data.dev, str) and not plan.data.test:
        yield (
            "data.overlap",
            "has no effect: dev is carved out of train, and there is no test",
            "remove it, or give data.test",
        )


def _quoting(plan: Plan, given: Set[str]) -> Iterator[Finding]:
    named = [getattr(plan.data, name) for name in SOURCES]
    sources = [source for source in named if isinstance(source, str) and source]
    if "data.quoting" in given and all(_is_typed(source) for source in sources):
        yield "data.quoting", "has no effect: no source is CSV or TSV", "remove it"


def _is_typed(source: str) -> bool:
    """Whether the form of `source`, or of what holds it, has no quotation marks of its own."""
    if split_pair(source):
        return True
    container, _, member = source.rpartition("#")
    return source.startswith(HUB) or _suffix(member) in TYPED or _suffix(container) in TYPED


def _suffix(source: str) -> str:
    path = PurePath(source)
    return PurePath(path.stem).suffix if path.suffix in COMPRESSED else path.suffix


def _empty(plan: Plan, given: Set[str]) -> Iterator[Finding]:
    columns = plan.data.columns
    for name in Columns.fields():
        dotted = f"data.columns.{name}"
        if columns and dotted in given and not getattr(columns, name):
            yield dotted, 'has no effect: "" names no column', "remove it"


def _revision(plan: Plan, given: Set[str]) -> Iterator[Finding]:
    local = Path(plan.base).is_dir() or "/" not in plan.base
    if "model.revision" in given and plan.model.revision and local:
        yield (
            "model.revision",
            f"has no effect: {plan.base} is a folder or a package, only hub bases have revisions",
            "remove it",
        )


def _quantized(plan: Plan, given: Set[str]) -> Iterator[Finding]:
    kind = KINDS.get(plan.adapter.kind)
    if "model.quantize" in given and plan.model.quantize != "none" and kind.quantized_why:
        yield (
            "model.quantize",
            f"= {plan.model.quantize}: {kind.name} cannot sit on a quantised base: "
            f"{kind.quantized_why}",
            "leave it out, or take another kind, lora.v1 for example",
        )


def _compiled(plan: Plan, given: Set[str]) -> Iterator[Finding]:
    if "model.compile" in given and plan.model.compile is True and plan.model.device == "cpu":
        what = "= true has no effect: on a CPU compiling takes longer than it saves"
        yield "model.compile", what, 'remove it, or set model.device = "cuda"'


def _kernels(plan: Plan, given: Set[str]) -> Iterator[Finding]:
    del given
    writes = plan.model.device == "cpu" and BY_TASK[plan.data.task].writes
    if plan.model.kernels == "plain" and (writes or plan.model.batches == "padded"):
        where = "for a base that writes on a CPU" if writes else "for padded rows"
        what = f'= "plain" has no effect: {where} there are none to choose'
        yield "model.kernels", what, "remove it"


def _same_source(plan: Plan, given: Set[str]) -> Iterator[Finding]:
    del given
    named = [(name, getattr(plan.data, name)) for name in SOURCES]
    seen: dict[str, str] = {}
    for name, source in named:
        if not isinstance(source, str) or not source:
            continue
        if source in seen:
            yield (
                f"data.{name}",
                f"is the same source as data.{seen[source]}",
                "judge on rows that were not trained on: give another file, or leave it out",
            )
        seen.setdefault(source, name)


def _share(plan: Plan, given: Set[str]) -> Iterator[Finding]:
    del given
    dev = plan.data.dev
    if not isinstance(dev, str) and not 0 < dev <= 0.5:
        yield "data.dev", f"= {dev:g} is no share of train", "give a file, or a share in (0, 0.5]"


def _undecided(plan: Plan, given: Set[str]) -> Iterator[Finding]:
    if plan.data.dev == "":
        for name in sorted({"train.patience", "train.metric", "train.evaluate_every"} & given):
            instead = "set train.save_every instead" if name.endswith("every") else "remove it"
            yield (
                name,
                'has no effect: data.dev = "" leaves no dev part',
                f"{instead}, or give data.dev",
            )


def _patience(plan: Plan, given: Set[str]) -> Iterator[Finding]:
    """Of n evaluations, the first is a gain and the last ends the run in any case."""
    train = plan.train
    most = train.epochs - 2
    once_an_epoch = plan.data.dev != "" and not train.evaluate_every
    if "train.patience" in given and once_an_epoch and train.patience > max(0, most):
        yield (
            "train.patience",
            f"= {train.patience} has no effect: train.epochs = {train.epochs} is over before "
            "that many evaluations without gain, one an epoch, can end it",
            f"raise train.epochs to {train.patience + 2}, or set train.evaluate_every",
        )


def _saving(plan: Plan, given: Set[str]) -> Iterator[Finding]:
    every, evaluate = plan.train.save_every, plan.train.evaluate_every
    with_each = every and evaluate and plan.data.dev != "" and every % evaluate == 0
    if "train.save_every" in given and with_each:
        yield (
            "train.save_every",
            f"= {every} has no effect: each evaluation saves, every {evaluate} steps",
            "remove it, or save more often than train.evaluate_every",
        )


def _head(plan: Plan, given: Set[str]) -> Iterator[Finding]:
    if "train.head_scale" in given and plan.train.head_start == "random":
        yield (
            "train.head_scale",
            'has no effect: train.head_start = "random" takes no probe that could be scaled',
            'remove it, or set train.head_start = "probe"',
        )


def _stabilized(plan: Plan, given: Set[str]) -> Iterator[Finding]:
    own, dotted = plan.adapter.own, f"adapters.{plan.adapter.name}.rank_stabilized"
    if dotted in given and own.get("rank_stabilized") and own.get("rank") == 1:
        yield dotted, "has no effect: the square root of rank = 1 is 1", "remove it, or raise rank"


def _held(plan: Plan, given: Set[str]) -> Iterator[Finding]:
    dotted = f"adapters.{plan.adapter.name}.b_learning_rate_ratio"
    if dotted in given and plan.adapter.own.get("init") == "mica":
        yield dotted, "has no effect: with init mica B is not trained", "remove it"


def _twice(plan: Plan, given: Set[str]) -> Iterator[Finding]:
    lists = {name: value for name, value, _ in plan.settings() if name in LISTS}
    for dotted, values in lists.items():
        doubles = [value for value, count in Counter(values).items() if count > 1]
        if dotted in given and doubles:
            yield dotted, f"names {doubles[0]} twice", "name it once"


def _judging(plan: Plan, given: Set[str]) -> Iterator[Finding]:
    own, task = BY_TASK[plan.data.task], plan.data.task
    if not plan.evaluate.scorers:
        yield "evaluate.scorers", "is empty: nothing would be measured", "name at least one"
    for name in sorted(set(plan.evaluate.scorers) - {*own.scorers, *own.more}):
        if name not in _further_scorers():
            what = f"names {name}, which is no scorer of {task}"
            yield "evaluate.scorers", what, did_you_mean(name, (*own.scorers, *own.more))
    for name in plan.evaluate.against or ():
        if name not in (known := (*own.baselines, *own.further)):
            what = f"names {name}, which is no baseline of {task}"
            yield "evaluate.against", what, did_you_mean(name, known)
    if "train.metric" in given and plan.train.metric not in own.dev:
        what = f"= {plan.train.metric} is no metric that dev has in {task}"
        yield "train.metric", what, did_you_mean(plan.train.metric, own.dev)


def _further_scorers() -> list[str]:
    """Give the scorers that other packages add, which are of no task of ours."""
    # A plan that names none of those is resolved without numpy and scipy, which scorers compute by.
    from tenon.evaluate.scorers import SCORERS

    ours = {name for own in BY_TASK.values() for name in (*own.scorers, *own.more)}
    return [name for name in SCORERS.names() if name not in ours]


def _by_token(plan: Plan, given: Set[str]) -> Iterator[Finding]:
    by_token, pooling = BY_TASK[plan.data.task].by_token, plan.model.pooling
    if by_token and pooling != TOKENS:
        what = f"= {pooling} has no effect: {plan.data.task} reads every token for itself"
        yield "model.pooling", what, "remove it"
    if not by_token and pooling == TOKENS:
        what = f"= {pooling}: {plan.data.task} needs one vector a row"
        yield "model.pooling", what, 'use "auto", "mean", "cls", "pooler" or "last"'
    if by_token and "text.cut" in given and not BY_TASK[plan.data.task].writes:
        what = f"has no effect: {plan.data.task} reads a long text in windows and cuts nothing"
        yield "text.cut", what, "remove it"


def _found(plan: Plan, given: Set[str]) -> Iterator[Finding]:
    if "text.answer_tokens" in given and plan.data.task != READING:
        what = f"has no effect: no answer of {plan.data.task} is looked for in a context"
        yield "text.answer_tokens", what, "remove it"


def _columns(plan: Plan, given: Set[str]) -> Iterator[Finding]:
    columns, task = plan.data.columns, TASKS.get(plan.data.task)
    if columns is None:
        return
    for name in sorted(columns.given() - OPTIONS.keys()):
        dotted = f"data.columns.{name}"
        if dotted in given and name not in task.columns:
            what = f"has no effect: {task.name} reads {', '.join(task.columns)}"
            yield dotted, what, "remove it"
    for name, column in OPTIONS.items():
        if getattr(columns, name) and not getattr(columns, column):
            dotted = f"data.columns.{name}"
            yield dotted, f"has no effect: there is no column of {column}", "remove it"


def _thresholds(plan: Plan, given: Set[str]) -> Iterator[Finding]:
    dotted = "evaluate.thresholds"
    if dotted in given and plan.data.task != "multi-label-classification":
        yield dotted, f"has no effect: {plan.data.task} has no thresholds", "remove it"
    elif dotted in given and plan.data.dev == "":
        yield dotted, 'has no effect: data.dev = "" leaves no rows to choose them on', "remove it"


def _room(plan: Plan, given: Set[str]) -> Iterator[Finding]:
    micro, step = plan.train.micro_batch_tokens, plan.train.tokens_per_step
    if {"train.micro_batch_tokens", "train.tokens_per_step"} <= given and 0 < step < micro:
        yield (
            "train.micro_batch_tokens",
            f"= {micro} has no effect: a whole step has only train.tokens_per_step = {step}",
            "lower it, or leave it out",
        )


def _writing(plan: Plan, given: Set[str]) -> Iterator[Finding]:
    task = plan.data.task
    if not BY_TASK[task].writes:
        for name in sorted(WRITING & given):
            yield name, f"has no effect: {task} writes no answers", "remove it"
        return
    for name in sorted(HEADS & given):
        what = f"has no effect: {task} trains no head, the base's own is used"
        yield name, what, "remove it"
    if "text.cut" in given and not BY_TASK[task].cuts:
        what = "has no effect: a prompt that is too long loses its left, and answers are never cut"
        yield "text.cut", what, "remove it"
    if plan.data.labels:
        yield "data.labels", f"has no effect: {task} has no labels", "remove it"
    yield from _asking(plan, given)
    yield from _comparing(plan, given)


def _asking(plan: Plan, given: Set[str]) -> Iterator[Finding]:
    """Tell what is wrong with how prompts are written."""
    instruction, turns = plan.text.instruction, bool(plan.data.columns and plan.data.columns.turns)
    given_one = instruction not in ("", AUTO)
    if given_one and turns:
        what = "has no effect: rows are conversations, in which everything is said"
        yield "text.instruction", what, "remove it"
    elif given_one and instruction.count(PLACE) != 1:
        what = f"holds {PLACE} {instruction.count(PLACE)} times, which is where the prompt stands"
        yield "text.instruction", what, f'write it once: "Translate: {PLACE}"'
    elif "text.instruction" in given and instruction in _without_effect(plan.data.task):
        yield "text.instruction", "has no effect: it is the prompt alone", "remove it"
    if turns and plan.text.template == "none":
        what = '= "none": conversations are written by a template'
        yield "text.template", what, 'use "auto" or "chat"'


def _without_effect(task: str) -> tuple[str, ...]:
    """Give the instructions that are what there is anyway: of tasks that ask for nothing, none."""
    return (PLACE,) if task in CHAT else ("", PLACE)


def _comparing(plan: Plan, given: Set[str]) -> Iterator[Finding]:
    """Tell what is wrong with how answers are compared."""
    settings = plan.evaluate
    try:
        extractor(settings.extract)
    except PlanError as error:
        what, _, remedy = str(error).removeprefix("extract: ").rpartition("; ")
        yield "evaluate.extract", f"= {what or remedy}", remedy if what else ""
    if "evaluate.extract" in given and "exact_match" not in settings.scorers:
        what = "has no effect: exact_match is not among evaluate.scorers"
        yield "evaluate.extract", what, "remove it, or add exact_match"
    if "evaluate.bleu_tokenizer" in given and "bleu" not in settings.scorers:
        what = "has no effect: bleu is not among evaluate.scorers"
        yield "evaluate.bleu_tokenizer", what, "remove it, or add bleu"
    if 0 < settings.written_rows < FEWEST_ROWS:
        what = f"= {settings.written_rows}: so few rows show nothing"
        yield "evaluate.written_rows", what, f"take {FEWEST_ROWS} at least, or 0 for all"


RULES: tuple[Rule, ...] = (
    _overlap,
    _quoting,
    _empty,
    _revision,
    _quantized,
    _compiled,
    _kernels,
    _same_source,
    _share,
    _undecided,
    _patience,
    _saving,
    _head,
    _stabilized,
    _held,
    _twice,
    *EVIDENCE,
    _judging,
    _by_token,
    _found,
    _columns,
    _thresholds,
    _room,
    _writing,
)
