"""Baselines: what the frozen base knows without an adapter; kept with the run.

Legend: R rows, D features, L labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from tenon.core.errors import FileError, RunError
from tenon.core.files import aside, digest_of, reading
from tenon.core.progress import Progress
from tenon.evaluate.exam import Exam
from tenon.evaluate.form import Constants, Form
from tenon.evaluate.frequent import Frequent, of_arrays
from tenon.evaluate.prediction import S
from tenon.evaluate.settings import EvaluateSettings
from tenon.model.model import Model
from tenon.text.order import generator
from tenon.text.tokens import Tokens

Floats = npt.NDArray[np.float32]
SAMPLE_ROWS = 50_000
SAMPLE_STREAM = 1 << 40
NAME = "baselines.safetensors"
PROBE = "linear_probe"
CONSTANTS = "constants."


@dataclass(frozen=True)
class Baselines:
    """What is frequent, and the linear probe, fitted on train, and the probe's answers.

    Args:
        frequent: log-probabilities that know only how often each class occurs.
        weight_LD, bias_L: of the probe, on raw features of the frozen base.
        unit_D: the vector whose product with a feature vector is nearest to 1; it carries the
            bias for a head that has none.
        log_probs: part to the probe's log-probabilities, or numbers, [U, L].
        constants: baseline to what turns its scores into answers.
        fitted_rows: train units that the probe saw.
    """

    frequent: Frequent
    weight_LD: Floats
    bias_L: Floats
    unit_D: Floats
    log_probs: Mapping[str, Floats]
    fitted_rows: int
    constants: Mapping[str, Constants] = field(default_factory=dict[str, Constants])

    def predictions(self, exam: Exam, part: str, answered: S, tokens: Tokens) -> dict[str, S]:
        """Give what each baseline answers to the rows that an adapter has answered.

        Args:
            answered: the adapter's answers to `tokens`, the rows of `part`.

        Raises:
            RunError: the part has other rows than when the baselines were fitted.
        """
        probe_UL, units = self.log_probs[part], len(exam.gold(tokens))
        if len(probe_UL) != units:
            raise RunError(
                f"{NAME}: has {len(probe_UL)} units of {part}, the data has {units}; "
                "start anew with --resume never"
            )
        kept_U = exam.kept(tokens, answered)
        if exam.simple is not None:
            probed = exam.form.apply(answered.rescored(probe_UL[kept_U]), self._constants(PROBE))
            return {**exam.simple(answered), PROBE: probed}
        names = exam.names(tokens) if exam.names else None
        frequent_UL = self.frequent.log_probs(names, units)
        rivals = {exam.frequent: frequent_UL, PROBE: probe_UL}
        return {
            name: exam.form.apply(answered.rescored(scores_UL[kept_U]), self._constants(name))
            for name, scores_UL in rivals.items()
        }

    def _constants(self, name: str) -> Constants:
        return self.constants.get(name, {})

    def scores(self, exam: Exam, features_UD: Floats) -> Floats:
        """Give what the probe says to features of the frozen base, [U, L]."""
        logits_UL = features_UD @ self.weight_LD.T + self.bias_L
        return exam.form.link(logits_UL, self._constants(PROBE))

    def answering(self, log_probs: Mapping[str, Floats]) -> Baselines:
        """Give the same baselines with the probe's answers to other rows."""
        return replace(self, log_probs=log_probs)

    def tuned(self, exam: Exam, dev: Tokens, settings: EvaluateSettings) -> Baselines:
        """Give the same baselines with what is chosen on dev, for each by its own scores."""
        gold_U = exam.gold(dev)
        names = exam.names(dev) if exam.names else None
        scores = {
            exam.frequent: self.frequent.log_probs(names, len(gold_U)),
            PROBE: self.log_probs["dev"],
        }
        chosen = {
            name: {**self._constants(name), **exam.form.choose(gold_U, scores_UL, settings)}
            for name, scores_UL in scores.items()
        }
        return replace(self, constants=chosen)

    def save(self, run: Path) -> None:
        """Write the baselines under `run`, whole or not at all."""
        arrays = {
            **self.frequent.arrays(),
            "weight": self.weight_LD,
            "bias": self.bias_L,
            "unit": self.unit_D,
            "fitted_rows": np.array([self.fitted_rows], np.int64),
            **{
                f"{CONSTANTS}{name}.{constant}": np.array(values, np.float64)
                for name, constants in self.constants.items()
                for constant, values in constants.items()
            },
            **{f"log_probs.{part}": array for part, array in self.log_probs.items()},
        }
        with aside(run / NAME) as beside:
            held = {name: np.ascontiguousarray(a) for name, a in arrays.items()}
            # safetensors' own writer gives mode 0600 and, on a full disk, no OSError
            beside.write_bytes(save(held, metadata={"digest": _digest(held)}))


def fit(
    exam: Exam,
    bare: Model,
    tokens: Mapping[str, Tokens],
    labels: Sequence[str],
    *,
    seed: int,
    batch_tokens: int,
    settings: EvaluateSettings | None = None,
    progress: Progress | None = None,
) -> Baselines:
    """Fit the baselines on the frozen base's features.

    Of a train part larger than 50,000 rows, a seeded sample is fitted; of its units, at most
    50,000.

    Args:
        exam: of the task.
        bare: the base and head, without an adapter.
        tokens: of each part; `train`, and whichever of `dev` and `test` there are.
        labels: the L classes.
        settings: by which constants are chosen on dev; the defaults where left out.
    """
    if exam.fit is not None:
        return exam.fit(
            bare, tokens, labels, seed=seed, batch_tokens=batch_tokens, progress=progress
        )
    gathered: dict[str, Floats] = {}
    sample = _sample(tokens["train"], seed)
    for part, rows in {**tokens, "train": sample}.items():
        if progress:
            progress.start(f"features of {part}", len(rows))
        gathered[part] = exam.features(bare, rows, batch_tokens=batch_tokens, progress=progress)
    form = exam.form
    features_UD, gold_U = _known_units(gathered["train"], exam.gold(sample), form, seed)
    dev = None
    if "dev" in tokens:
        dev = _known_units(gathered["dev"], exam.gold(tokens["dev"]), form, seed)
    if progress:
        progress.start("linear probe", None)
    probe = form.fit(features_UD, gold_U, len(labels), seed=seed, dev=dev)
    train = tokens["train"]
    names = exam.names(train) if exam.names else None
    fitted = Baselines(
        frequent=form.count(exam.gold(train), len(labels), names),
        weight_LD=probe.weight_LD,
        bias_L=probe.bias_L,
        unit_D=_unit(features_UD),
        log_probs={},
        fitted_rows=len(features_UD),
        constants={PROBE: exam.constants(train)},
    )
    parts = {part: fitted.scores(exam, f) for part, f in gathered.items() if part != "train"}
    settled = fitted.answering(parts)
    if "dev" not in tokens:
        return settled
    return settled.tuned(exam, tokens["dev"], settings or EvaluateSettings())


def _known_units(
    features_UD: Floats, gold_U: npt.NDArray[Any], form: Form, seed: int
) -> tuple[Floats, npt.NDArray[Any]]:
    """Give the units that have gold, or a seeded sample of them."""
    known = np.flatnonzero(form.known(gold_U))
    if len(known) > SAMPLE_ROWS:
        known = np.sort(generator(seed, SAMPLE_STREAM).choice(known, SAMPLE_ROWS, replace=False))
    if len(known) == len(gold_U):
        return features_UD, gold_U
    return features_UD[known], gold_U[known]


def load(run: Path) -> Baselines | None:
    """Read the baselines of a run, or None where they are not fitted yet.

    Raises:
        FileError: the file is damaged.
    """
    path = run / NAME
    if not path.exists():
        return None
    with reading(path):
        try:
            return _of_arrays(_checked(path))
        except (SafetensorError, KeyError) as error:
            raise FileError(
                f"{path}: not the baselines of a run; start anew with --resume never"
            ) from error


def _checked(path: Path) -> dict[str, Any]:
    with safe_open(path, "np") as file:
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
        stated = (file.metadata() or {}).get("digest")
    if stated != _digest(arrays):
        raise FileError(
            f"{path}: its bytes have changed since it was written; remove it, and the same command "
            "fits the baselines again"
        )
    return arrays


def _digest(arrays: Mapping[str, npt.NDArray[Any]]) -> str:
    """Give a digest of what safetensors, which has no checksum, holds."""
    return digest_of(
        {
            name: [str(array.dtype), array.shape, sha256(array.tobytes()).hexdigest()]
            for name, array in arrays.items()
        }
    )


def _of_arrays(arrays: dict[str, Any]) -> Baselines:
    prefix = "log_probs."
    return Baselines(
        frequent=of_arrays(arrays),
        weight_LD=arrays["weight"],
        bias_L=arrays["bias"],
        unit_D=arrays["unit"],
        log_probs={n.removeprefix(prefix): a for n, a in arrays.items() if n.startswith(prefix)},
        fitted_rows=int(arrays["fitted_rows"][0]),
        constants=_constants_of(arrays),
    )


def _constants_of(arrays: Mapping[str, Any]) -> dict[str, dict[str, tuple[float, ...]]]:
    found: dict[str, dict[str, tuple[float, ...]]] = {}
    for key, values in arrays.items():
        if key.startswith(CONSTANTS):
            name, _, constant = key.removeprefix(CONSTANTS).partition(".")
            found.setdefault(name, {})[constant] = tuple(values.tolist())
    return found


def _sample(tokens: Tokens, seed: int) -> Tokens:
    if len(tokens) <= SAMPLE_ROWS:
        return tokens
    rows = generator(seed, SAMPLE_STREAM).choice(len(tokens), SAMPLE_ROWS, replace=False)
    return tokens.take(np.sort(rows))


def _unit(features_RD: Floats) -> Floats:
    """Give u with the least squared error of X u = 1, slightly damped."""
    gram_DD = features_RD.astype(np.float64).T @ features_RD
    damping = 1e-6 * np.trace(gram_DD) / len(gram_DD)
    target_D = features_RD.sum(0, dtype=np.float64)
    return np.linalg.solve(gram_DD + damping * np.eye(len(gram_DD)), target_D).astype(np.float32)
