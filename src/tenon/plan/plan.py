"""Plan: all settings of one run, resolved, each with its origin."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError

from tenon.adapters.kind import KINDS
from tenon.adapters.settings import AdapterSettings
from tenon.core.errors import PlanError
from tenon.core.files import digest_of, read_json, write_json
from tenon.core.settings import Settings
from tenon.data.parallel import each_path
from tenon.data.settings import DataSettings
from tenon.evaluate.settings import EvaluateSettings
from tenon.model.settings import ModelSettings
from tenon.text.settings import TextSettings
from tenon.train.settings import TrainSettings

FORMAT = 1
SOURCES = ("train", "dev", "test")

Seeds = Annotated[int, Field(ge=1, le=1000)] | tuple[Annotated[int, Field(ge=0, lt=2**63)], ...]
"""How many, or which."""

Origin = Literal["file", "override", "measured", "default"]


class Plan(Settings):
    """What a run does, in one frozen value that is stored with it.

    Args:
        base: a folder, an installed package, or a hub id.
        seed: from which every random choice follows.
        seeds: how many runs there are, with the seeds from `seed` on, or a list of their seeds.
        data: sources, columns and the split; paths are absolute.
        text: the length policy.
        model: how the base is loaded and read.
        adapters: what is trained: one.
        train: how it is trained.
        evaluate: how it is judged.
        folder: the folder of run.toml, against which its relative paths were read.
        origins: dotted name of a setting to where its value came from.
    """

    base: str = Field(min_length=1)
    seed: int = Field(default=0, ge=0, lt=2**63)
    seeds: Seeds = 1
    data: DataSettings
    text: TextSettings = TextSettings()
    model: ModelSettings = ModelSettings()
    adapters: tuple[AdapterSettings, ...] = Field(min_length=1, max_length=1)
    train: TrainSettings = TrainSettings()
    evaluate: EvaluateSettings = EvaluateSettings()
    folder: str = ""
    origins: dict[str, Origin] = Field(default_factory=dict[str, Origin])

    @property
    def adapter(self) -> AdapterSettings:
        """The one adapter that this plan trains."""
        return self.adapters[0]

    @property
    def training_seeds(self) -> tuple[int, ...]:
        """Of each run, the seed of its order, its dropout and its first weights.

        All else that is drawn, the split above all, follows from `seed` in every run.
        """
        if isinstance(self.seeds, tuple):
            return self.seeds
        return tuple(range(self.seed, self.seed + self.seeds))

    @property
    def training_seed(self) -> int:
        """The first of them, of a plan that has one run the only one."""
        return self.training_seeds[0]

    def of_seed(self, seed: int) -> Self:
        """Give the plan of one of the runs; that of `seed` itself is the plan without `seeds`."""
        return self.model_copy(update={"seeds": 1 if seed == self.seed else (seed,)})

    @property
    def digest(self) -> str:
        """Sha256 of the settings, in hex: the same for a project that was moved as a whole.

        Origins have no part in it, and a path below the plan's folder counts as it stands there.
        """
        settings = self.model_dump(mode="json", exclude={"folder", "origins"})
        settings["base"] = below(settings["base"], self.folder)
        for name in SOURCES:
            if isinstance(settings["data"][name], str):
                settings["data"][name] = below(settings["data"][name], self.folder)
        others = settings["evaluate"]["forgetting"]
        settings["evaluate"]["forgetting"] = [below(other, self.folder) for other in others]
        adapter = settings["adapters"][0]
        if KINDS.get(adapter["kind"]).compound is not None:
            for part in adapter["own"]["parts"]:
                del part["folder"]  # its digest says what it is, wherever it lies
        return digest_of({"format": FORMAT, **settings})

    def decided(self, values: Mapping[str, Any], origin: Origin = "measured") -> Self:
        """Give this plan with settings filled in.

        Args:
            values: dotted name, such as `train.tokens_per_step`, to value.
            origin: where the values come from.
        """
        changes: dict[str, Any] = {}
        for name, value in values.items():
            owner, _, field = name.rpartition(".")
            if owner:
                before: Settings = changes.get(owner, getattr(self, owner))
                changes[owner] = before.model_copy(update={field: value})
            else:
                changes[field] = value
        origins = {**self.origins, **dict.fromkeys(values, origin)}
        return self.model_copy(update={**changes, "origins": origins})

    def setting(self, name: str) -> Any:
        """Give the value of a setting by its dotted name, such as `train.epochs`."""
        owner, _, field = name.rpartition(".")
        return getattr(getattr(self, owner) if owner else self, field)

    def settings(self) -> Iterator[tuple[str, Any, Origin]]:
        """Yield each setting: dotted name, value, origin."""
        for name, value in _flat(self.model_dump(mode="json", exclude={"folder", "origins"})):
            yield name, value, self.origins.get(name, "default")

    def to_json(self) -> dict[str, Any]:
        """Give the plan as `plan.json` holds it."""
        return {"format": FORMAT, "digest": self.digest, **self.model_dump(mode="json")}

    @classmethod
    def from_json(cls, value: dict[str, Any], where: str = "plan.json") -> Self:
        """Read what `to_json` gave.

        Args:
            value: the content of a `plan.json`.
            where: the file's name, for messages.

        Raises:
            PlanError: an unknown format, unknown or missing settings, or a digest that does not
                belong to the settings.
        """
        fields = dict(value)
        known, told = fields.pop("format", None), fields.pop("digest", None)
        if known != FORMAT:
            raise PlanError(f"{where}: has format {known!r}, this Tenon reads {FORMAT}; update it")
        try:
            plan = cls.model_validate(fields)
        except ValidationError as error:
            raise PlanError(f"{where}: is not a plan of this Tenon ({_first(error)})") from error
        if plan.digest != told:
            raise PlanError(
                f"{where}: its digest is {str(told)[:12]}, its settings have {plan.digest[:12]}; "
                "it was changed by hand: change run.toml and begin a new run"
            )
        return plan

    def write(self, path: Path) -> None:
        """Write `plan.json`, whole or not at all."""
        write_json(path, self.to_json())

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a `plan.json`.

        Raises:
            FileError: the file is absent or not JSON.
            PlanError: it is not a plan, or was changed.
        """
        value = read_json(path)
        if not isinstance(value, dict):
            raise PlanError(f"{path}: holds no plan but a {type(value).__name__}")
        return cls.from_json(value, str(path))


def below(path: str, folder: str) -> str:
    """Give a path, or a pair of them, relative to `folder` where it lies there, else as it is."""
    return each_path(path, lambda one: _below(one, folder))


def _below(path: str, folder: str) -> str:
    if not folder or not path.startswith(folder.rstrip(os.sep) + os.sep):
        return path
    return Path(path).relative_to(folder).as_posix()


def _flat(table: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in table.items():
        if name == "adapters":
            for adapter in value:
                places = {name: adapter[name] for name in ("sites", "layers")}
                own = {"kind": adapter["kind"], **places, **adapter["own"]}
                if KINDS.get(adapter["kind"]).compound is not None:
                    own["parts"] = [part["folder"] for part in own["parts"]]
                # a kind's setting may be a table itself, a value for each layer
                yield from ((f"adapters.{adapter['name']}.{each}", own[each]) for each in own)
        elif isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _first(error: ValidationError) -> str:
    fault = error.errors()[0]
    return f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}"
