"""The kind `bottleneck.v1`: presets of the literature, and their places in each architecture.

torch and PEFT are imported by the functions that make the config, so that
looking up the kind and settling its settings stays quick.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from tenon.adapters.kind import Targets, kind
from tenon.adapters.names import WEIGHTED
from tenon.core.errors import PlanError
from tenon.core.settings import Settings

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

    from tenon.adapters.bottleneck import BottleneckConfig

Activation = Literal["relu", "gelu", "silu", "swish", "tanh"]
PRESETS: dict[str, dict[str, Any]] = {
    "houlsby": {"activation": "swish", "reduction": 16, "scale": 1.0},
    "pfeiffer": {"activation": "relu", "reduction": 16, "scale": 1.0},
    "parallel": {"activation": "relu", "reduction": 4, "scale": 4.0},
}
PRESET_SITES: dict[str, tuple[str, ...]] = {
    "houlsby": ("attention.out", "mlp.out"),
    "pfeiffer": ("mlp.out",),
    "parallel": ("mlp.out",),
}
NORMS: dict[str, tuple[bool, bool, bool]] = {
    "houlsby": (False, True, True),
    "pfeiffer": (True, True, True),
    "parallel": (False, True, True),
}
NORM_NAMES = ("original_ln_before", "original_ln_after", "residual_before_ln")
IDENTITIES = {(True, True, True), (True, False, False), (False, True, True)}
"""Values of `NORM_NAMES` with which an adapter that adds nothing changes nothing."""

PRESET_PLACES: dict[str, tuple[str, ...]] = {
    "houlsby": WEIGHTED,
    "pfeiffer": ("attention.out", "mlp.out"),
    "parallel": ("mlp.out",),
}
_BERT_NORMS = {"output.dense": "output.LayerNorm"}
POST_NORM: dict[str, Mapping[str, str]] = {
    "bert": _BERT_NORMS,
    "roberta": _BERT_NORMS,
    "xlm-roberta": _BERT_NORMS,
    "electra": _BERT_NORMS,
    "distilbert": {
        "attention.out_lin": "sa_layer_norm",
        "ffn.lin2": "output_layer_norm",
    },
}
"""Model types whose blocks end in a norm: end of a linear layer's name to that of its norm."""


class BottleneckSettings(Settings):
    """What can be set of a bottleneck adapter: a preset, and what shall differ from it.

    `houlsby` sits after the attention output and after the MLP output, each before the residual is
    added; swish, reduction 16. `pfeiffer` sits once per block, after the MLP: in models that
    normalise after the block (BERT and its kin) it reads the block's normalised output and adds to
    what that norm takes in; in models that normalise before it (Llama, GPT-2, T5, ModernBERT) no
    such norm exists, and it sits on the MLP's output before the residual is added. relu,
    reduction 16. `parallel` reads the MLP's input and adds to its output, times 4; relu.
    He et al. take reduction 2, which on MiniLM is 3.9 % of the base; the default here is 4.

    Args:
        preset: where it sits, and the defaults of the rest.
        width: units of the bottleneck.
        reduction: hidden size / width; give this or `width`.
        activation: between the two matrices.
        scale: factor of what is added, or "learned" (from 1).
        dropout: share of what is added that is zeroed while training.
        norm: normalise the adapter's input by a trained LayerNorm of its own.
        original_ln_before: read the output of the base's own norm.
        original_ln_after: pass the sum through the base's own norm afterwards.
        residual_before_ln: add to what the base's norm takes in, not to what it gives out.
        init: "identity" starts as no change at all, "near" close to it, as in the papers.
    """

    preset: Literal["houlsby", "pfeiffer", "parallel"] = "houlsby"
    width: int | None = Field(default=None, ge=1, le=65_536)
    reduction: float | None = Field(default=None, ge=1)
    activation: Activation = "swish"
    scale: float | Literal["learned"] = 1.0
    dropout: float = Field(default=0.0, ge=0, lt=1)
    norm: bool = False
    original_ln_before: bool | None = None
    original_ln_after: bool | None = None
    residual_before_ln: bool | None = None
    init: Literal["identity", "near"] = "identity"

    @model_validator(mode="before")
    @classmethod
    def _fill_from_preset(cls, given: Any) -> Any:
        preset = given.get("preset", "houlsby") if isinstance(given, Mapping) else None
        if not isinstance(given, Mapping) or preset not in PRESETS:
            return given
        filled = {**PRESETS[str(preset)], **given}
        if given.get("width") is not None and given.get("reduction") is None:
            filled["reduction"] = None
        return filled

    @model_validator(mode="after")
    def _check(self) -> BottleneckSettings:
        if (self.width is None) == (self.reduction is None):
            raise ValueError(f"width is {self.width} and reduction is {self.reduction}; give one")
        explicit = ", ".join(self.explicit_norms())
        if self.preset == "parallel" and explicit:
            raise ValueError(f"{explicit} has no effect with preset parallel; leave it out")
        if self.norms() not in IDENTITIES:
            now = ", ".join(
                f"{name} = {str(value).lower()}"
                for name, value in zip(NORM_NAMES, self.norms(), strict=True)
            )
            raise ValueError(
                f"{now} is not the identity at the start: it drops or doubles the block's "
                "residual; leave all three to the preset, or take true, false, false (after the "
                "norm)"
            )
        return self

    def explicit_norms(self) -> list[str]:
        """Give the names of the norm settings that were set, against the preset's own."""
        return [name for name in NORM_NAMES if getattr(self, name) is not None]

    def norms(self) -> tuple[bool, bool, bool]:
        """Give `original_ln_before`, `original_ln_after`, `residual_before_ln` as they hold."""
        before, after, residual = NORMS[self.preset]
        return (
            before if self.original_ln_before is None else self.original_ln_before,
            after if self.original_ln_after is None else self.original_ln_after,
            residual if self.residual_before_ln is None else self.residual_before_ln,
        )


@kind(
    "bottleneck.v1",
    title="Bottleneck adapter",
    settings=BottleneckSettings,
    default_sites=PRESET_SITES["houlsby"],
    choose_sites=lambda settings: PRESET_SITES[settings.preset],
    choose_places=lambda settings: PRESET_PLACES[settings.preset],
    presets={
        preset: {
            **values,
            **dict(
                zip(NORM_NAMES, (None,) * 3 if preset == "parallel" else NORMS[preset], strict=True)
            ),
        }
        for preset, values in PRESETS.items()
    },
    learning_rate=2e-3,
    mergeable=False,
    mergeable_why="an activation stands between its two matrices, so no weight can stand for it",
    rowwise=True,
    paper=(
        "Houlsby et al. 2019, Parameter-Efficient Transfer Learning for NLP (arXiv:1902.00751); "
        "Pfeiffer et al. 2020, AdapterFusion (arXiv:2005.00247); He et al. 2022, Towards a Unified "
        "View of Parameter-Efficient Transfer Learning (arXiv:2110.04366)"
    ),
    summary="Adds a small two-layer network to each block: narrow, activate, widen.",
)
def bottleneck(
    settings: BottleneckSettings, targets: Targets, base: PreTrainedConfig
) -> BottleneckConfig:
    """Make the PEFT config: names of linear layers become those of the modules to wrap.

    Raises:
        PlanError: the preset or its norm settings have no place in this architecture.
    """
    from tenon.adapters import sites
    from tenon.adapters.bottleneck import BottleneckConfig

    names = sites.modules(targets)
    before, after, residual = settings.norms()
    if settings.preset == "parallel":
        names = _mlps(names, base.model_type)
    elif before:
        names, before, after, residual = _norms(settings, names, base.model_type)
    learned = settings.scale == "learned"
    return BottleneckConfig(
        target_modules=list(names),
        width=settings.width,
        reduction=settings.reduction,
        activation=settings.activation,
        scale=1.0 if settings.scale == "learned" else settings.scale,
        learn_scale=learned,
        dropout=settings.dropout,
        norm=settings.norm,
        parallel=settings.preset == "parallel",
        original_ln_before=before,
        original_ln_after=after,
        residual_before_ln=residual,
        init=settings.init,
    )


def _mlps(names: tuple[str, ...], model_type: str) -> tuple[str, ...]:
    """Give the MLPs that end in the linear layers `names`."""
    from tenon.adapters import sites

    known = sites.SITES.get(model_type, {}).get("mlp.out", ())
    blocks: list[str] = []
    for name in names:
        if not any(sites.matches(name, pattern) for pattern in known):
            raise PlanError(
                f"sites: preset parallel sits beside an MLP, and {name} of this "
                f"{model_type or 'unknown'} model is not known to end one; "
                'set sites = ["mlp.out"] on an architecture that '
                "`tenon show kinds` lists, or take preset houlsby"
            )
        blocks.append(name.rpartition(".")[0])
    return tuple(dict.fromkeys(blocks))


def _norms(
    settings: BottleneckSettings, names: tuple[str, ...], model_type: str
) -> tuple[tuple[str, ...], bool, bool, bool]:
    """Give the norms that follow the linear layers `names`; in pre-norm models, the layers."""
    table = POST_NORM.get(model_type)
    if table is None:
        _refuse_without_norm(settings, model_type)
        return names, *NORMS["houlsby"]
    norms: list[str] = []
    for name in names:
        end = next((end for end in table if name.endswith(f".{end}")), None)
        if end is None:
            raise PlanError(
                f"sites: {name} is followed by no norm of its block, which original_ln_before "
                'needs; choose sites from "attention.out" and "mlp.out"'
            )
        norms.append(name.removesuffix(end) + table[end])
    return tuple(norms), *settings.norms()


def _refuse_without_norm(settings: BottleneckSettings, model_type: str) -> None:
    from tenon.adapters import sites

    explicit = settings.explicit_norms()
    if explicit:
        raise PlanError(
            f"{explicit[0]}: has no effect on this {model_type} model, whose blocks do not "
            f"end in a norm; leave {', '.join(explicit)} out"
        )
    if model_type not in sites.SITES:
        raise PlanError(
            f"preset: pfeiffer is not known for model type {model_type or 'unknown'}; take preset "
            'houlsby with sites = ["mlp.out"], which sits on the MLP\'s output'
        )
