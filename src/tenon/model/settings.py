"""ModelSettings: how the base is loaded and read."""

from __future__ import annotations

from typing import Literal

from tenon.adapters.fingerprint import Quantize
from tenon.core.settings import Settings

Pooling = Literal["mean", "cls", "pooler", "last"]


class ModelSettings(Settings):
    """The base's revision, number format, device and pooling.

    Args:
        revision: commit, tag or branch of a hub base.
        dtype: number format of the frozen base; adapters and head stay in float32. "auto" is
            bfloat16 on a GPU, and on a CPU where a probe at the start of a long run finds it
            faster and near enough; else float32.
        quantize: hold the linear layers of the base's blocks in few bits: "int8" and "int4" by
            torchao, "bnb-int8" and "bnb-nf4" by bitsandbytes. An adapter keeps which.
        device: where the run takes place; "auto" takes CUDA where there is one.
        pooling: how a row's hidden states become one vector; "auto" as the base was
            trained; "tokens" where every token is read for itself.
        batches: "auto" packs rows where the base is proved to allow it.
        trunk_dropout: keep the frozen base's own dropout on while training.
        compile: let torch compile the base's blocks for training on a GPU, which takes about a
            minute once and a third or more off every step; "auto" does so where a run is long
            enough for it to pay.
        kernels: how a base is trained: "auto" computes its layers in fewer steps where that is
            proved equal, of decoders on a GPU and of encoders on a CPU, and replays passes on a
            GPU as CUDA graphs where they can be recorded; "plain" does none of it.
    """

    revision: str = ""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    quantize: Quantize = "none"
    device: str = "auto"
    pooling: Literal["auto", "mean", "cls", "pooler", "last", "tokens"] = "auto"
    batches: Literal["auto", "packed", "padded"] = "auto"
    trunk_dropout: bool = False
    compile: bool | Literal["auto"] = False
    kernels: Literal["auto", "plain"] = "auto"
