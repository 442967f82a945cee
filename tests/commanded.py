"""Projects in which `tenon train` is a process of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from processes import Ended, Nursery
from runs import log, table
from tenon.core.files import is_beside, read_json

ADAPTERS = {
    "lora": '{ kind = "lora.v1", rank = 2, dropout = 0.1 }',
    "bottleneck": '{ kind = "bottleneck.v1", reduction = 4, dropout = 0.1 }',
}
PLAN = """\
base = "{base}"
seed = 7

[data]
train = "train.csv"
dev = 0.2
test = "test.csv"

[adapters]
mood = {adapter}

[train]
epochs = 2
tokens_per_step = 200
save_every = 2

[evaluate]
resamples = 200

[model]
device = "cpu"
"""
LEFT = {".lock", "adapter", "baselines.safetensors", "inputs.json", "plan.json", "report"}
LEFT |= {"preflight.json", "steps.jsonl"}


class Project:
    """A folder with data and a plan, in which `tenon train` is run."""

    def __init__(self, folder: Path, base: Path, which: str, cradle: Nursery):
        self.folder, self.cradle = folder, cradle
        folder.mkdir(parents=True)
        (folder / "train.csv").write_text(table(90, 1))
        (folder / "test.csv").write_text(table(30, 2))
        (folder / "run.toml").write_text(PLAN.format(base=base, adapter=ADAPTERS[which]))

    def train(
        self,
        name: str,
        *options: str,
        target: str = "run.toml",
        environment: dict[str, str] | None = None,
        **more: Any,
    ) -> Ended:
        """Run `tenon train`; the run and its cache lie in a folder of that name."""
        home = self.folder / name
        words = ["train", str(self.folder / target), *options, "--out", str(home / "run")]
        known = {"TENON_CACHE": str(home / "cache"), **(environment or {})}
        return self.cradle.run(*words, watched=home, environment=known, **more)

    def result(self, name: str):
        """Give all of a run that no clock decides.

        Of checkpoints only the last: Ctrl-C adds one of the step that it met.
        """
        run = self.folder / name / "run"
        report = read_json(run / "report" / "report.json")
        last = max(run.glob("step-*"))
        tensors = [path for home in (run / "adapter", last, run) for path in home.glob("*.safet*")]
        return {
            "log": log(run),
            "predictions": (run / "report" / "predictions.jsonl").read_bytes(),
            "metrics": [report[key] for key in ("metrics", "baselines", "paired", "data")],
            "plan": (run / "plan.json").read_bytes(),
            "tensors": {str(path.relative_to(run)): path.read_bytes() for path in tensors},
        }

    def remains(self, name: str) -> set[str]:
        """Give what lies in a run's folder that is no part of a run."""
        home = self.folder / name
        beside = {str(path) for path in home.rglob("*") if is_beside(path)}
        found = {path.name for path in (home / "run").glob("*")}
        return beside | {n for n in found if n not in LEFT and not n.startswith("step-")}
