"""The kind `bottleneck.v1`: presets of the literature, and what can be set of each.

torch and PEFT are imported by the functions that make the config, so that
looking up the kind and settling its settings stays quick.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, model_validator

from tenon.adapters.blocks import check_labels, is_among
from tenon.adapters.bottleneck_faults import NORM_NAMES, faults
from tenon.adapters.kind import Targets, kind
from tenon.adapters.names import WEIGHTED, modules
from tenon.core.errors import PlanError
from tenon.core.settings import Settings

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

    from tenon.adapters.bottleneck import BottleneckConfig

Activation = Literal["relu", "gelu", "gelu_new", "silu", "swish", "tanh", "leakyrelu"]
Preset = Literal[
    "houlsby",
    "pfeiffer",
    "parallel",
    "scaled-parallel",
    "adapterplus",
    "compacter",
    "compacter++",
    "mad-x",
]
Norms = tuple[bool, bool, bool]
Reduction = Annotated[float, Field(ge=1)]

EMBEDDINGS = "embeddings"
OUTPUTS = tuple(site for site in WEIGHTED if site.endswith(".out"))
INSIDE: Norms = (False, True, True)
AROUND: Norms = (True, True, True)
BEHIND: Norms = (True, False, False)
_PLAIN: dict[str, Any] = {
    "scale": 1.0,
    "init": "identity",
    "phm_dim": None,
    "phm_rank": None,
    "phm_shared": None,
    "invertible": None,
}
_KRONECKER = {"phm_dim": 4, "phm_rank": 1, "phm_shared": True}
PRESETS: dict[str, dict[str, Any]] = {
    "houlsby": {"activation": "swish", "reduction": 16, **_PLAIN},
    "pfeiffer": {"activation": "relu", "reduction": 16, **_PLAIN},
    "parallel": {"activation": "relu", "reduction": 4, **_PLAIN, "scale": 4.0},
    "scaled-parallel": {"activation": "relu", "reduction": 4, **_PLAIN, "scale": "learned"},
    "adapterplus": {
        "activation": "gelu",
        "reduction": 96,
        **_PLAIN,
        "scale": "channel",
        "init": "near",
    },
    "compacter": {"activation": "gelu", "reduction": 32, **_PLAIN, **_KRONECKER},
    "compacter++": {"activation": "gelu", "reduction": 32, **_PLAIN, **_KRONECKER},
    "mad-x": {"activation": "relu", "reduction": 16, **_PLAIN, "invertible": 2},
}
DOUBLE = ("attention.out", "mlp.out")
PRESET_SITES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(PRESETS, ("mlp.out",)),
    "houlsby": DOUBLE,
    "compacter": DOUBLE,
}
NORMS: dict[str, Norms] = {
    **dict.fromkeys(("houlsby", "compacter", "parallel", "scaled-parallel"), INSIDE),
    **dict.fromkeys(("pfeiffer", "compacter++", "mad-x"), AROUND),
    "adapterplus": BEHIND,
}
PARALLEL = ("parallel", "scaled-parallel")
PRESET_PLACES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(PRESETS, OUTPUTS),
    **dict.fromkeys(("houlsby", "compacter"), WEIGHTED),
    **dict.fromkeys(PARALLEL, ("mlp.out",)),
}


class BottleneckSettings(Settings):
    """What can be set of a bottleneck adapter: a preset, and what shall differ from it.

    `houlsby` sits after the attention output and after the MLP output, each before the residual is
    added; swish, reduction 16. `pfeiffer` sits once per block, after the MLP: in models that
    normalise after the block (BERT and its kin) it reads the block's normalised output and adds to
    what that norm takes in; in models that normalise before it (Llama, GPT-2, T5, ModernBERT) it
    reads the sum of the MLP's output and the residual, and adds to it. relu, reduction 16.
    `parallel` reads the MLP's input and adds to its output, times 4; relu. He et al. take
    reduction 2, which on MiniLM is 3.9 % of the base; the default here is 4. `scaled-parallel`
    learns the factor, from 1. `adapterplus` sits behind the whole block, its norm included, with a
    factor that is learned for each channel; gelu, reduction 96, and it starts near the identity
    instead of at it. `compacter` sits as houlsby and `compacter++` as pfeiffer, with matrices that
    are sums of 4 Kronecker products of rank 1; gelu, reduction 32. `mad-x` is pfeiffer with an
    invertible coupling behind the embeddings, which is undone before the base's output head.

    Args:
        preset: where it sits, and the defaults of the rest.
        width: units of the bottleneck.
        reduction: hidden size / width; give this or `width`. Or one for each layer: {0 = 8,
            "decoder.3" = 4, default = 16}.
        activation: between the two matrices.
        scale: factor of what is added; or "learned" (from 1), or "channel", learned for each unit.
        dropout: share of what is added that is zeroed while training.
        ln_before: normalise the adapter's input by a trained LayerNorm of its own.
        ln_after: normalise what is added by a trained LayerNorm of its own.
        original_ln_before: read the output of the base's own norm.
        original_ln_after: pass the sum through the base's own norm afterwards.
        residual_before_ln: add to what the base's norm takes in, not to what it gives out.
        init: "identity" starts as no change at all, "mam" too; "near" (normal of 0.01, truncated)
            and "bert" (normal of 0.02) close to it.
        leave_out: layers without an adapter, by number from 0; "decoder.3" is one of the decoder.
        phm_dim: number of Kronecker products of which each matrix is the sum.
        phm_rank: rank of the factors of these products.
        phm_shared: use the same small factor of each product in all layers.
        invertible: put an invertible coupling behind the embeddings, of bottlenecks with this
            reduction.
    """

    preset: Preset = "houlsby"
    width: int | None = Field(default=None, ge=1, le=65_536)
    reduction: Reduction | dict[str, Reduction] | None = None
    activation: Activation = "swish"
    scale: float | Literal["learned", "channel"] = 1.0
    dropout: float = Field(default=0.0, ge=0, lt=1)
    ln_before: bool = False
    ln_after: bool = False
    original_ln_before: bool | None = None
    original_ln_after: bool | None = None
    residual_before_ln: bool | None = None
    init: Literal["identity", "near", "bert", "mam"] = "identity"
    leave_out: list[int | str] | None = None
    phm_dim: int | None = Field(default=None, ge=1, le=64)
    phm_rank: int | None = Field(default=None, ge=1, le=1024)
    phm_shared: bool | None = None
    invertible: Reduction | None = None

    @model_validator(mode="before")
    @classmethod
    def _fill_from_preset(cls, given: Any) -> Any:
        preset = given.get("preset", "houlsby") if isinstance(given, Mapping) else None
        if not isinstance(given, Mapping) or preset not in PRESETS:
            return given
        filled = {**PRESETS[str(preset)], **given}
        if given.get("width") is not None and given.get("reduction") is None:
            filled["reduction"] = None
        if filled.get("phm_dim") is not None:
            missing = {name for name in _KRONECKER if filled.get(name) is None}
            filled |= {name: _KRONECKER[name] for name in missing}
        return filled

    @model_validator(mode="after")
    def _check(self) -> BottleneckSettings:
        explicit = ", ".join(self.explicit_norms())
        if self.preset in PARALLEL and explicit:
            raise ValueError(f"{explicit} has no effect with preset {self.preset}; leave it out")
        found = list(faults(self.fields()))
        if found:
            raise ValueError("; ".join(found))
        return self

    def explicit_norms(self) -> list[str]:
        """Give the names of the norm settings that were set, against the preset's own."""
        return [name for name in NORM_NAMES if getattr(self, name) is not None]

    def norms(self) -> Norms:
        """Give `original_ln_before`, `original_ln_after`, `residual_before_ln` as they hold."""
        before, after, residual = NORMS[self.preset]
        return (
            before if self.original_ln_before is None else self.original_ln_before,
            after if self.original_ln_after is None else self.original_ln_after,
            residual if self.residual_before_ln is None else self.residual_before_ln,
        )

    def fields(self) -> dict[str, Any]:
        """Give the fields of PEFT's config that follow from the settings alone."""
        own = self.model_dump(exclude={"preset"})
        parallel = self.preset in PARALLEL
        left_out = list(self.labels()) or None
        norms = dict(zip(NORM_NAMES, self.norms(), strict=True))
        return {**own, **norms, "parallel": parallel, "leave_out": left_out}

    def labels(self) -> tuple[str, ...]:
        """Give the layers without an adapter as text."""
        return tuple(str(label) for label in self.leave_out or ())


def _sites(settings: BottleneckSettings) -> tuple[str, ...]:
    coupled = (EMBEDDINGS,) if settings.invertible is not None else ()
    return (*PRESET_SITES[settings.preset], *coupled)


def _places(settings: BottleneckSettings) -> tuple[str, ...]:
    coupled = (EMBEDDINGS,) if settings.invertible is not None else ()
    return tuple(dict.fromkeys((*PRESET_PLACES[settings.preset], *coupled)))


@kind(
    "bottleneck.v1",
    title="Bottleneck adapter",
    settings=BottleneckSettings,
    default_sites=PRESET_SITES["houlsby"],
    choose_sites=_sites,
    choose_places=_places,
    presets={
        preset: {
            **values,
            **dict(
                zip(
                    NORM_NAMES,
                    (None,) * 3 if preset in PARALLEL else NORMS[preset],
                    strict=True,
                )
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
        "View of Parameter-Efficient Transfer Learning (arXiv:2110.04366); Steitz and Roth 2024, "
        "Adapters Strike Back (arXiv:2406.06820); Mahabadi et al. 2021, Compacter "
        "(arXiv:2106.04647); Pfeiffer et al. 2020, MAD-X (arXiv:2005.00052); Rücklé et al. 2021, "
        "AdapterDrop (arXiv:2010.11918)"
    ),
    summary="Adds a small two-layer network to each block: narrow, activate, widen.",
)
def bottleneck(
    settings: BottleneckSettings, targets: Targets, base: PreTrainedConfig
) -> BottleneckConfig:
    """Make the PEFT config: names of linear layers become those of the modules to wrap.

    Raises:
        PlanError: the preset or its norm settings have no place in this architecture, or a layer
            that a setting names is not there.
    """
    from tenon.adapters import bottleneck_places
    from tenon.adapters.bottleneck import BottleneckConfig

    coupled, names = _parted(settings, targets)
    fields = settings.fields()
    if settings.preset in PARALLEL:
        names = bottleneck_places.mlps(names, base.model_type)
    elif settings.norms() != INSIDE:
        fields |= dict(zip(NORM_NAMES, _held(settings, base.model_type), strict=True))
        names = bottleneck_places.behind(names, base.model_type)
    names = _kept(settings, names)
    tables = bottleneck_places.embedded(coupled, base.model_type)
    return BottleneckConfig(target_modules=[*names, *tables], **fields)


def _parted(
    settings: BottleneckSettings, targets: Targets
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Part the word embeddings, where they get a coupling, from the layers of the blocks."""
    from tenon.adapters import bottleneck_places

    if settings.invertible is None:
        return (), modules(targets)
    tables = {site: targets[site] for site in targets if site.rpartition(".")[2] == EMBEDDINGS}
    names = modules({site: targets[site] for site in targets if site not in tables})
    if targets and not tables:
        raise PlanError(f'invertible: has no effect without "{EMBEDDINGS}" among the sites; add it')
    if strange := bottleneck_places.outside(names):
        raise PlanError(
            f"sites: {strange[0]} lies in no layer, where invertible puts a coupling; leave it out"
        )
    return modules(tables), names


def _held(settings: BottleneckSettings, model_type: str) -> Norms:
    """Give the norm settings as they hold on a base.

    Where blocks end in no norm, there is one way to be behind them, and nothing else to set.
    """
    from tenon.adapters import bottleneck_places

    if model_type in bottleneck_places.POST_NORM:
        return settings.norms()
    explicit = settings.explicit_norms()
    if explicit:
        raise PlanError(
            f"{explicit[0]}: has no effect on this {model_type} model, whose blocks do not "
            f"end in a norm; leave {', '.join(explicit)} out"
        )
    return BEHIND


def _kept(settings: BottleneckSettings, names: tuple[str, ...]) -> tuple[str, ...]:
    """Give the modules that are not left out."""
    if not names:
        return names
    check_labels("leave_out", settings.labels(), names)
    kept = tuple(name for name in names if not is_among(name, settings.labels()))
    if not kept:
        raise PlanError("leave_out: leaves out every layer, so nothing would be trained; keep one")
    if isinstance(settings.reduction, Mapping):
        check_labels("reduction", settings.reduction, kept)
    return kept
