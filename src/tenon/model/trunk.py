"""Trunk: the frozen base without its head, and its forward pass over a Batch.

Legend: B rows, T real tokens, P tokens of the longest row, D hidden.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from tenon.core.errors import PlanError, RunError
from tenon.model import coded
from tenon.model.attending import attention
from tenon.model.base import Base
from tenon.model.compiled import compiled_named
from tenon.model.entry import spared
from tenon.model.holding import Holding, holding
from tenon.model.loading import Numbers, quiet, read
from tenon.model.packing import ATTENTION, Borders
from tenon.model.quantized import count_parameters
from tenon.model.settings import ModelSettings, Quantize
from tenon.text.batch import Batch, filled, of_ids

LOGITS: dict[str, Callable[[Tensor, float], Tensor]] = {
    "final_logit_softcapping": lambda logits, cap: cap * torch.tanh(logits / cap),
    "logits_scaling": lambda logits, scale: logits / scale,
    "logit_scale": lambda logits, scale: logits * scale,
    "lm_head_multiplier": lambda logits, scale: logits * scale,
}
"""Settings of a base's config that change the scores of tokens, as transformers' models do: Gemma,
Granite, Cohere, Falcon-H1. A base that changes them in another way is found out by proof."""
EVEN = "_tenon_even"
"""Where a base keeps of what number the tokens of a pass in training are made a multiple."""
PROOF_LENGTHS = (3, 7, 5)
PROVABLE_WINDOW = 1024
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
TOLERANCE = {torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 5e-2}
OFFSET_POSITIONS = {
    "camembert", "data2vec-text", "ibert", "longformer", "luke", "mpnet", "roberta",
    "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl", "xmod",
}  # fmt: skip
"""Bases whose positions begin behind the pad token's id, and pass over pad tokens."""


@dataclass(frozen=True)
class Trunk:
    """A frozen base and how it is fed.

    Args:
        model: the transformers model without a head; every parameter frozen.
        decoder: whether a token sees only what is before it.
        packed: whether rows are laid end to end.
        why: why rows are packed or padded, in one clause.
        offset: position of a row's first token.
        pad: token id that fills padded rows.
        parameters: of the base, adapters and head not counted.
        whole: the same model with its language-model head around it, where it was asked for; an
            adapter on `model` is one on this as well.
        start: of an encoder-decoder, the ids with which its decoder begins every answer; empty
            for others.
        scale: what the decoder's output is multiplied by before the language-model head.
        quantize: how its linear layers were quantised when it was loaded.
        holding: what layers in few bits take; None where it has none.
        alone: modules of the last block that may compute the tokens that are read alone (`last`).
    """

    model: PreTrainedModel
    decoder: bool
    packed: bool
    why: str
    offset: int
    pad: int
    parameters: int
    whole: PreTrainedModel | None = None
    start: tuple[int, ...] = ()
    scale: float = 1.0
    quantize: Quantize = "none"
    holding: Holding | None = None
    alone: tuple[str, ...] = ()

    @property
    def seq2seq(self) -> bool:
        """Whether an encoder reads what is asked and a decoder writes the answer."""
        return bool(self.start)

    @property
    def hidden_size(self) -> int:
        """Channels D of a hidden state."""
        config = self.model.config
        return int(getattr(config, "hidden_size", 0) or config.d_model)

    @property
    def device(self) -> torch.device:
        """Where the base lies."""
        return self.model.device

    @property
    def types(self) -> int:
        """How many token types the base tells apart; 0 where it knows none."""
        return int(getattr(self.model.config, "type_vocab_size", 0) or 0)

    def hidden_TD(self, batch: Batch) -> Tensor:
        """Give the last hidden state of every real token, row after row.

        Args:
            batch: on the trunk's device.
        """
        if not self.packed:
            return self._padded_TD(batch)
        even = vars(self.model).get(EVEN, 1) if torch.is_grad_enabled() else 1
        laid = filled(batch, -batch.tokens % even, self.pad)
        hidden_TD = self.packed_TD(laid, Borders(laid.lengths, laid.ids_T.device))
        return hidden_TD if laid is batch else hidden_TD[: batch.tokens]

    @contextlib.contextmanager
    def attending(self) -> Iterator[None]:
        """Let several passes attend as one pass over packed rows does."""
        if not self.packed:
            yield
            return
        with attention(self.model, ATTENTION):
            yield

    def packed_TD(self, batch: Batch, borders: Borders) -> Tensor:
        """Give the last hidden state of every token, attention kept within `borders`."""
        with spared(self.model, batch, packed=True):
            return self.placed_TD(batch.ids_T, self.positions_T(batch), batch.types_T, borders)

    def placed_TD(
        self, ids_T: Tensor, positions_T: Tensor, types_T: Tensor | None, borders: Borders
    ) -> Tensor:
        """Give the same of tokens whose positions are known."""
        with attention(self.model, ATTENTION):
            states = self.model(
                input_ids=ids_T[None],
                position_ids=positions_T[None],
                borders=borders,
                **compiled_named(self.model, borders),
                **self.typed(types_T),
                **self._no_cache,
            )
        # Squeezed, as the gradient of a part would be copied into a tensor of full size.
        return states.last_hidden_state.squeeze(0)

    def _padded_TD(self, batch: Batch) -> Tensor:
        ids_BP, mask_BP, types_BP = padded(batch, self.pad)
        more = {**self.typed(types_BP), **self._no_cache}
        with spared(self.model, batch, packed=False):
            states = self.model(input_ids=ids_BP, attention_mask=mask_BP, **more)
        return states.last_hidden_state[mask_BP.bool()]

    @property
    def output(self) -> nn.Module:
        """The base's own language-model head: hidden states to scores of tokens."""
        assert self.whole is not None  # noqa: S101 - loaded for a task that writes
        return cast(nn.Module, self.whole.get_output_embeddings())

    def logits_UV(self, hidden_UD: Tensor) -> Tensor:
        """Give the scores of the next token from hidden states, in float32, as the base does."""
        logits_UV = self.output(hidden_UD * self.scale).float()
        bias_1V = getattr(self.whole, "final_logits_bias", None)
        logits_UV = logits_UV if bias_1V is None else logits_UV + bias_1V.float()
        config = self.model.config
        for name, change in LOGITS.items():
            if number := getattr(config, name, None):
                logits_UV = change(logits_UV, float(number))
        return logits_UV

    def typed(self, types: Tensor | None) -> dict[str, Tensor]:
        """Give the argument for token types, [T] or [B, P]; none where the base knows but one."""
        if types is None or self.types < 2:  # noqa: PLR2004
            return {}
        return {"token_type_ids": types if types.dim() == 2 else types[None]}  # noqa: PLR2004

    def positions_T(self, batch: Batch) -> Tensor:
        """Give the position of each token as the base itself counts it in padded rows.

        Source: transformers, `RobertaEmbeddings.create_position_ids_from_input_ids`.
        """
        if not self.offset:
            return batch.positions_T
        counted_T = (batch.ids_T != self.pad).long()
        rows = torch.split(counted_T, list(batch.lengths))
        return torch.cat([row.cumsum(0) for row in rows]) * counted_T + self.pad

    @property
    def _no_cache(self) -> dict[str, bool]:
        return {"use_cache": False} if self.decoder else {}


def padded(batch: Batch, pad: int) -> tuple[Tensor, Tensor, Tensor | None]:
    """Give ids_BP, mask_BP (1 on real tokens) and types_BP (or None), padded on the right."""
    rows = torch.split(batch.ids_T, list(batch.lengths))
    ids_BP = torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True, padding_value=pad)
    lengths_B = torch.tensor(batch.lengths, device=ids_BP.device)
    mask_BP = (torch.arange(ids_BP.shape[1], device=ids_BP.device) < lengths_B[:, None]).long()
    if batch.types_T is None:
        return ids_BP, mask_BP, None
    kinds = torch.split(batch.types_T, list(batch.lengths))
    return ids_BP, mask_BP, torch.nn.utils.rnn.pad_sequence(list(kinds), batch_first=True)


def load(
    base: Base,
    settings: ModelSettings,
    *,
    pooler: bool = False,
    writes: bool = False,
    lead: Sequence[int] = (),
) -> Trunk:
    """Load a base, freeze it, and prove whether rows can be packed.

    Args:
        pooler: load the base's trained pooler as well.
        writes: load its language-model head as well.
        lead: what stands before every answer of an encoder-decoder, behind its start token.

    Raises:
        FileError: the folder is not a model that transformers can load whole.
        PlanError: a setting that this base or machine cannot follow.
    """
    device = pick_device(settings.device)
    held = Numbers(_dtype(settings, device), settings.quantize, device)
    loaded = read(base, held, pooler=pooler, writes=writes)
    loaded.requires_grad_(requires_grad=False)
    loaded = cast(Any, loaded).to(device).eval()
    model = cast(PreTrainedModel, loaded.base_model) if writes else loaded
    decoder = is_decoder(model)
    stated = model.config.pad_token_id
    pad = stated if isinstance(stated, int) and stated >= 0 else 0
    offset = pad + 1 if model.config.model_type in OFFSET_POSITIONS else 0
    count = count_parameters(loaded)
    trunk = Trunk(model, decoder, packed=False, why="", offset=offset, pad=pad, parameters=count)
    held = holding(loaded, settings.quantize, model.dtype)
    trunk = replace(trunk, quantize=settings.quantize, holding=held)
    if writes and model.config.is_encoder_decoder:
        return _seq2seq(base, replace(trunk, whole=loaded, decoder=True), lead, settings.batches)
    if writes:
        trunk = replace(trunk, whole=loaded)
        ids_1T = torch.tensor([proof_row(trunk, 7)], device=trunk.device)
        asked = {"input_ids": ids_1T, "use_cache": False}
        with torch.no_grad(), quiet():
            hidden_TD = model(**asked).last_hidden_state[0]
        if not _same_logits(trunk, asked, hidden_TD):
            raise _other_logits(base, trunk)
    return _with_batches(trunk, settings.batches)


def pick_device(name: str) -> torch.device:
    """Give the device that `name` means; "auto" is CUDA where there is one.

    Raises:
        PlanError: there is no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise PlanError(
            f"model.device = {name!r}: not usable here ({str(error).splitlines()[0]}); "
            'use "auto" or "cpu"'
        ) from error
    return device


def positions(trunk: Trunk) -> int:
    """Give how many positions the base can tell apart; 0 where it has no limit."""
    config = trunk.model.config
    limit = int(getattr(config, "max_position_embeddings", 0) or 0)
    return max(0, limit - trunk.offset)


def _dtype(settings: ModelSettings, device: torch.device) -> torch.dtype:
    if settings.dtype != "auto":
        return DTYPES[settings.dtype]
    return torch.bfloat16 if device.type == "cuda" else torch.float32


def _seq2seq(base: Base, trunk: Trunk, lead: Sequence[int], wanted: str) -> Trunk:
    """Give the trunk of an encoder-decoder, with what its answers begin with.

    Raises:
        PlanError: it does not say what they begin with, cannot be packed as asked, or makes scores
            from hidden states in a way that is not known.
    """
    model = trunk.model
    first = getattr(model.config, "decoder_start_token_id", None)
    if not isinstance(first, int):
        raise PlanError(
            f"base {base.name}: its config does not say with which token an answer begins; set "
            "decoder_start_token_id in its config.json"
        )
    made = replace(trunk, start=(first, *lead))
    ids_1T = torch.tensor([proof_row(trunk, 7)], device=trunk.device)
    real_1T = torch.ones_like(ids_1T)
    asked = {"input_ids": ids_1T, "decoder_input_ids": ids_1T, "use_cache": False}
    with torch.no_grad(), quiet():
        hidden_TD = coded.coded_BPD(model, ids_1T, real_1T, ids_1T, real_1T)[0]
    for scale in (1.0, trunk.hidden_size**-0.5):
        scaled = replace(made, scale=scale)
        if _same_logits(scaled, asked, hidden_TD):
            return _with_batches(scaled, wanted)
    raise _other_logits(base, trunk)


def _same_logits(trunk: Trunk, asked: Mapping[str, Any], hidden_TD: Tensor) -> bool:
    """Whether the base's own scores of the next token are those of `Trunk.logits_UV`."""
    assert trunk.whole is not None  # noqa: S101 - as in `Trunk.output`
    with torch.no_grad(), quiet():
        expected_TV = trunk.whole(**asked).logits[0].float()
        found_TV = trunk.logits_UV(hidden_TD)
    error = float((found_TV - expected_TV).abs().max() / expected_TV.abs().max())
    return error <= TOLERANCE[trunk.model.dtype]


def _other_logits(base: Base, trunk: Trunk) -> PlanError:
    half = trunk.model.dtype == torch.float16
    dtype = "set model.dtype to bfloat16 or float32, as float16 may overflow, or " if half else ""
    return PlanError(
        f"base {base.name}: {trunk.model.config.model_type} makes scores of tokens from hidden "
        f"states in a way that is not known here; {dtype}use another base"
    )


def is_decoder(model: PreTrainedModel) -> bool:
    """Whether a token sees only what is before it."""
    return any(getattr(module, "is_causal", False) is True for module in model.modules())


def _with_batches(trunk: Trunk, wanted: str) -> Trunk:
    if wanted == "padded":
        return replace(trunk, why="asked for")
    candidate = replace(trunk, packed=True)
    why = _sided_fault(trunk) if trunk.seq2seq else _packing_fault(candidate)
    if not why:
        return replace(candidate, why="proved equal to padded on this base")
    if wanted == "packed":
        raise PlanError(f'model.batches = "packed": this base cannot be packed: {why}; use "auto"')
    return replace(trunk, why=f"this base cannot be packed: {why}")


def _sided_fault(trunk: Trunk) -> str:
    """Say why packing fails on an encoder-decoder; empty where packed equals padded."""
    rows = [[proof_row(trunk, length) for length in pair] for pair in coded.PROOF]
    with torch.no_grad(), quiet():
        return coded.fault(trunk.model, rows, trunk.pad, TOLERANCE[trunk.model.dtype])


def _packing_fault(trunk: Trunk) -> str:
    """Say why packing fails on this base; empty where packed equals padded."""
    why, windows = _difference(trunk, PROOF_LENGTHS)
    window = min(windows, default=PROVABLE_WINDOW)
    fits = positions(trunk) == 0 or window + 2 <= positions(trunk)
    if why or window >= PROVABLE_WINDOW or not fits:
        return why
    return _difference(trunk, (window + 2, 3, window + 1))[0]


def _difference(trunk: Trunk, lengths: tuple[int, ...]) -> tuple[str, set[int]]:
    """Compare packed to padded rows; give what is wrong, and the sliding windows met."""
    batch = of_ids([proof_row(trunk, length) for length in lengths]).to(trunk.device)
    borders = Borders(batch.lengths, trunk.device)
    with torch.no_grad(), quiet():
        expected_TD = replace(trunk, packed=False).hidden_TD(batch).float()
        try:
            packed_TD = trunk.packed_TD(batch, borders).float()
        except RunError as error:
            return str(error), borders.windows
        except (TypeError, ValueError, IndexError, RuntimeError) as error:
            return f"its forward pass does not take borders ({type(error).__name__})", set()
    if not borders.used:
        return "it has an attention of its own, which does not see borders", set()
    error = float((packed_TD - expected_TD).abs().max() / expected_TD.abs().max())
    if error <= TOLERANCE[trunk.model.dtype]:
        return "", borders.windows
    return f"its hidden states differ by {error:.1e} from padded ones", borders.windows


def proof_row(trunk: Trunk, length: int) -> list[int]:
    """Give token ids that differ along the row; none is the pad token."""
    vocabulary = int(trunk.model.config.vocab_size)
    ids = [(7 * place + length) % (vocabulary - 1) + 1 for place in range(length)]
    return [token if token != trunk.pad else token - 1 for token in ids]
