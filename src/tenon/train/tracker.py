"""Tracker: TensorBoard events, through accelerate."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import TracebackType

from accelerate import Accelerator
from accelerate.tracking import TensorBoardTracker

from tenon.core.errors import MissingExtra
from tenon.train.settings import TrainSettings


class Tracker:
    """Send numbers to the trackers that the settings name; to none by default.

    Args:
        run: folder of the run; events go to its `tensorboard/`.

    Raises:
        MissingExtra: a tracker's package is not installed.
    """

    def __init__(self, accelerator: Accelerator, run: Path, settings: TrainSettings) -> None:
        self.accelerator = accelerator
        self.on = bool(settings.trackers)
        if not self.on:
            return
        if importlib.util.find_spec("tensorboard") is None:
            raise MissingExtra('train.trackers = ["tensorboard"]', "tensorboard", "trackers")
        run.mkdir(parents=True, exist_ok=True)
        accelerator.trackers = [TensorBoardTracker("tensorboard", logging_dir=run)]
        accelerator.trackers[0].start()

    def log(self, values: dict[str, float], step: int) -> None:
        """Send the values of a step."""
        if self.on:
            self.accelerator.log(values, step=step)

    def __enter__(self) -> Tracker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Flush and close, however the run ended."""
        if self.on:
            self.accelerator.end_training()
