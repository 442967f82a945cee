"""Runtime: an exported graph that answers as the adapter does, run by onnxruntime.

It stands where a model stands, so that the same exams answer and judge it. Legend: B rows, P tokens
of the longest row, T real tokens, U chosen tokens, L classes.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tenon.core.errors import MissingExtra
from tenon.model.head import Head
from tenon.model.reader import place_scores
from tenon.model.trunk import Trunk, padded
from tenon.text.batch import Batch


class Runtime(nn.Module):
    """A graph on onnxruntime, on the CPU.

    Args:
        path: of the graph.
        trunk: the base's, of which only the pad token and the device are asked.
        head: whose constants turn scores into answers.

    Raises:
        MissingExtra: onnxruntime is not installed.
    """

    def __init__(self, path: Path, trunk: Trunk, head: Head) -> None:
        super().__init__()
        try:
            onnxruntime: Any = importlib.import_module("onnxruntime")
        except ImportError as error:
            raise MissingExtra("--to onnx", "onnxruntime", "onnx") from error
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = torch.get_num_threads()
        providers = ["CPUExecutionProvider"]
        self.session = onnxruntime.InferenceSession(path, options, providers=providers)
        self.inputs = [given.name for given in self.session.get_inputs()]
        self.trunk = trunk
        self.head = head

    def logits(self, batch: Batch) -> Tensor:
        """Give the scores of a batch, [B, L] or [B, P, L], on the CPU."""
        ids_BP, mask_BP, types_BP = padded(batch.to(torch.device("cpu")), self.trunk.pad)
        types_BP = torch.zeros_like(ids_BP) if types_BP is None else types_BP
        given = {"input_ids": ids_BP, "attention_mask": mask_BP, "token_type_ids": types_BP}
        feed = {name: given[name].numpy() for name in self.inputs}
        return torch.from_numpy(self.session.run(None, feed)[0])

    def logits_BL(self, batch: Batch) -> Tensor:
        """Give the class scores of rows."""
        return self.logits(batch)

    def logits_UL(self, batch: Batch, chosen_T: Tensor) -> Tensor:
        """Give the class scores of chosen tokens."""
        return self.logits_TL(batch)[chosen_T]

    def scores_T2(self, batch: Batch) -> Tensor:
        """Give every token's scores as an answer's first and last."""
        return place_scores(self.logits_TL(batch), batch.lengths)

    def logits_TL(self, batch: Batch) -> Tensor:
        """Give the scores of the real tokens, row after row."""
        lengths_B = torch.tensor(batch.lengths)
        logits_BPL = self.logits(batch)
        return logits_BPL[torch.arange(logits_BPL.shape[1]) < lengths_B[:, None]]

    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]:  # noqa: FBT001, FBT002
        """Give those of the head; the rest lies in the graph."""
        return self.head.parameters(recurse)
