"""Coded: hidden states of encoder-decoders, of padded rows and of packed ones.

Packed, linear layers see real tokens only, and attention stays within rows (`tenon.model.sided`).
Where a base counts positions by itself it is asked for those of its longest row, once. That all
this gives what padded rows give is proved on the loaded base.

Legend: B rows, S tokens of sources, T tokens of answers, P tokens of the longest row, D hidden, H
heads.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.hooks import RemovableHandle

from tenon.core.errors import RunError
from tenon.model.attending import attention
from tenon.model.sided import SIDED, Sided
from tenon.text.batch import sent

PROOF = ((3, 9), (17, 4), (16, 3), (5, 11))
"""Tokens of the sources and answers with which a base is proved."""
SORTS = {"within", "causal", "across"}
"""Of attention, all of which a base that is packed has."""
BIAS, BIASED = "compute_bias", "has_relative_attention_bias"
PLACES = "embed_positions"


def coded_TD(
    model: Any, source_S: Tensor, said_T: Tensor, source: Sequence[int], said: Sequence[int]
) -> tuple[Tensor, set[str]]:
    """Give the decoder's last hidden state of every token that it reads, row after row.

    Args:
        model: an encoder-decoder.
        source_S, said_T: ids that the encoder and the decoder read, row after row.
        source, said: tokens of each row of both.

    Returns:
        The states, and which sorts of attention have asked for the borders: all three where the
        base can be packed.
    """
    met: set[str] = set()
    borders = Sided(tuple(source), tuple(said), source_S.device, decoding=False, met=met)
    with attention(model, SIDED):
        encoder, decoder = model.get_encoder(), model.get_decoder()
        with placed(encoder, source, source_S.device):
            read = encoder(input_ids=source_S[None], borders=borders).last_hidden_state
        borders = Sided(borders.source, borders.said, borders.device, decoding=True, met=met)
        with placed(decoder, said, source_S.device):
            states = decoder(
                input_ids=said_T[None],
                encoder_hidden_states=read,
                use_cache=False,
                borders=borders,
            )
    return states.last_hidden_state[0], met


def coded_BPD(
    model: Any, source_BS: Tensor, real_BS: Tensor, said_BP: Tensor, real_BP: Tensor
) -> Tensor:
    """Give the same of padded rows.

    Args:
        model: an encoder-decoder.
        source_BS: ids that the encoder reads; S tokens of the longest.
        real_BS: 1 on real ones.
        said_BP: ids that the decoder reads.
        real_BP: 1 on real ones.
    """
    read_BSD = model.get_encoder()(input_ids=source_BS, attention_mask=real_BS)
    states = model.get_decoder()(
        input_ids=said_BP,
        attention_mask=real_BP,
        encoder_hidden_states=read_BSD.last_hidden_state,
        encoder_attention_mask=real_BS,
        use_cache=False,
    )
    return states.last_hidden_state


def fault(model: Any, rows: Sequence[Sequence[list[int]]], pad: int, tolerance: float) -> str:
    """Say why an encoder-decoder cannot be packed; empty where packed equals padded.

    Args:
        model: it, without gradients; where it can be packed, its layers are ready for that.
        rows: ids of source and answer of each row.
        pad: id behind them.
        tolerance: of the largest hidden state.
    """
    device = model.device
    sides = [[torch.tensor(row[side], device=device) for row in rows] for side in (0, 1)]
    padded = [pad_sequence(side, batch_first=True, padding_value=pad) for side in sides]
    real = [
        pad_sequence([torch.ones_like(ids_T) for ids_T in side], batch_first=True) for side in sides
    ]
    expected_BPD = coded_BPD(model, padded[0], real[0], padded[1], real[1])
    expected_TD = expected_BPD[real[1].bool()].float()
    lengths = [[len(ids_T) for ids_T in side] for side in sides]
    handles = near(model)
    why = _difference(model, sides, lengths, expected_TD, tolerance)
    for handle in handles if why else ():
        handle.remove()
    return why


def _difference(
    model: Any,
    sides: list[list[Tensor]],
    lengths: list[list[int]],
    expected_TD: Tensor,
    tolerance: float,
) -> str:
    """Say in what packed rows differ from padded ones; empty where they are equal."""
    try:
        found_TD, met = coded_TD(model, torch.cat(sides[0]), torch.cat(sides[1]), *lengths)
    except RunError as error:
        return str(error)
    except (TypeError, ValueError, IndexError, RuntimeError, AttributeError) as error:
        return f"its forward pass does not take borders ({type(error).__name__})"
    if met != SORTS:
        return "it has an attention of its own, which does not see borders"
    error = float((found_TD.float() - expected_TD).abs().max() / expected_TD.abs().max())
    if error <= tolerance:
        return ""
    return f"its hidden states differ by {error:.1e} from padded ones"


@contextlib.contextmanager
def placed(stack: nn.Module, lengths: Sequence[int], device: torch.device) -> Iterator[None]:
    """Let positions be counted within rows, by the module with which a base embeds its own."""
    place_T = sent(torch.cat([torch.arange(length) for length in lengths]), device)
    found = [module for name, module in stack.named_modules() if name.rpartition(".")[2] == PLACES]
    for module in found:
        vars(module)["forward"] = _Placed(module, place_T, max(lengths))
    try:
        yield
    finally:
        for module in found:
            del vars(module)["forward"]


def near(model: nn.Module) -> list[RemovableHandle]:
    """Let layers that add numbers to scores, by how far places are apart, do so for a row alone.

    They make them for all pairs of tokens that they see, which packed rows are too many for; what
    is added depends on the distance alone, so that those of the longest row are all there are.
    While such a layer runs, in a pass that computes its states again as well, it makes these, and
    none where it would make zeros.

    Returns:
        What takes it back.
    """
    handles: list[RemovableHandle] = []
    for module in model.modules():
        if callable(getattr(type(module), BIAS, None)):
            handles.append(module.register_forward_pre_hook(_nearer, with_kwargs=True))
            handles.append(module.register_forward_hook(_farther, always_call=True))
    return handles


def _nearer(module: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
    del given
    borders = named.get("borders")
    if isinstance(borders, Sided):
        vars(module)[BIAS] = _Biased(module, max(borders.lengths))
        vars(module)[BIASED] = True


def _farther(module: nn.Module, *_: Any) -> None:
    biased = vars(module).pop(BIAS, None)
    if biased is not None:
        vars(module)[BIASED] = biased.adds


class _Biased:
    """What a layer adds to scores, by how far places are apart, for the longest row alone.

    Args:
        module: the layer.
        longest: tokens of that row.
    """

    def __init__(self, module: Any, longest: int) -> None:
        self.module, self.longest = module, longest
        self.adds = bool(getattr(module, BIASED))

    def __call__(self, *_: Any, **named: Any) -> Tensor | None:
        """Give it, [1, H, P, P]; None of a layer that adds nothing."""
        if not self.adds:
            return None
        device = {"device": named["device"]} if named.get("device") is not None else {}
        compute = cast("Callable[..., Tensor]", getattr(type(self.module), BIAS))
        return compute(self.module, self.longest, self.longest, **device)


class _Placed:
    """Embeddings of positions, of each token by its place in its row."""

    def __init__(self, module: nn.Module, place_T: Tensor, longest: int) -> None:
        self.module, self.place_T, self.longest = module, place_T, longest

    def __call__(self, *given: Any, **_: Any) -> Tensor:
        """Give them, [1, T, D], from those of a row as long as the longest."""
        forward = cast(Any, type(self.module)).forward
        table = forward(self.module, *(self._of_longest(each) for each in given))
        return table.reshape(self.longest, -1).index_select(0, self.place_T)[None]

    def _of_longest(self, given: Any) -> Any:
        """Give an argument as of a row as long as the longest."""
        if isinstance(given, Tensor) and given.dim() > 1:
            return given[:, :1].expand(1, self.longest, *given.shape[2:])
        if isinstance(given, tuple):
            shape = cast("tuple[int, ...]", given)
            return torch.Size((1, self.longest, *shape[2:]))
        return given
