"""L13: no setting of an adapter is without effect: another value is another run, or is refused."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from attached import TABLES
from runs import classifier, log, settings, tokens
from tenon.adapters.bottleneck_faults import NORM_NAMES
from tenon.adapters.bottleneck_kind import PRESETS
from tenon.adapters.kind import KINDS, settle
from tenon.core.errors import PlanError
from tenon.train.loop import Course, Loop

ARCHITECTURES = ("bert", "roberta", "llama", "qwen3", "gpt2")
CASES = [
    *((arch, which) for arch in ARCHITECTURES for which in ("lora", "houlsby")),
    ("bert", "pfeiffer"),
    ("llama", "parallel"),
]
OTHERS = {
    "rank": [3],
    "alpha": [5.0],
    "rank_stabilized": [True],
    "width": [3],
    "reduction": [2.0, {"1": 2.0, "default": 16.0}],
    "activation": ["gelu"],
    "scale": [3.0, "learned", "channel"],
    "dropout": [0.5],
    "ln_before": [True],
    "ln_after": [True],
    **{name: [True, False] for name in NORM_NAMES},
    "init": ["near", "bert", "mam", "gaussian"],
    "b_learning_rate_ratio": [8.0],
    "preset": list(PRESETS),
    "leave_out": [[0]],
    "phm_dim": [4],
    "phm_rank": [2],
    "phm_shared": [False],
    "invertible": [2.0],
}
INITS = {"lora.v1": ["gaussian"], "bottleneck.v1": ["near", "bert", "mam"]}


def losses(folder, which, run, **own):
    """Train for some steps; what their losses are is what the settings make of them."""
    adapter = {"dropout": 0.0, "reduction": None, **own}
    given = {name: value for name, value in adapter.items() if value is not None}
    model = classifier(folder, which, batches="padded", **given)
    kind = KINDS.get(TABLES[which]["kind"])
    factors = kind.factors(settle("mood", {**TABLES[which], **given}).own)
    Loop(model, tokens(18), Course(run, "plan", 5, settings(epochs=1), factors=factors)).run()
    return [entry["loss"] for entry in log(run)]


@pytest.mark.cells
@pytest.mark.parametrize(("arch", "which"), CASES)
def test_another_value_is_another_run_or_is_refused(arch, which, folder_of, tmp_path):
    folder, kind = folder_of(arch), KINDS.get(TABLES[which]["kind"])
    plain = losses(folder, which, tmp_path / "plain")
    assert plain == losses(folder, which, tmp_path / "again")
    assert len(plain) >= 3
    defaults = kind.settings(**{k: v for k, v in TABLES[which].items() if k != "kind"})
    norms = defaults.norms() if which != "lora" else ()
    own = dict(zip(NORM_NAMES, norms, strict=False))  # what the preset stands for
    changed = refused = 0
    assert set(kind.settings.model_fields) <= set(OTHERS), "a new setting, of which nothing is told"
    for name in kind.settings.model_fields:
        for place, value in enumerate(OTHERS[name]):
            if value == own.get(name, getattr(defaults, name)):
                continue
            if name == "init" and value not in INITS[kind.name]:
                continue
            try:
                told = losses(folder, which, tmp_path / f"{name}-{place}", **{name: value})
            except PlanError as error:
                assert name in str(error), (name, str(error))
                refused += 1
                continue
            assert told != plain, (name, value)
            changed += 1
    assert changed >= 3
    assert refused <= 7


@pytest.mark.parametrize("which", TABLES)
@pytest.mark.parametrize("name", ["widht", "r", "lora_alpha", "Rank"])
def test_what_is_no_setting_is_refused(which, name):
    with pytest.raises((PlanError, ValidationError), match=name):
        settle("mood", {**TABLES[which], name: 3})
