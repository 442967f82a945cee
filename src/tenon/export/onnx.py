"""ONNX: an adapter on its base as one graph, and the same in int8, for onnxruntime.

Of tasks whose head is ours, on encoders and on decoders that classify. What can be merged is merged
first; a bottleneck becomes a part of the graph. Legend: B texts, L classes.
"""

from __future__ import annotations

import contextlib
import json
import logging
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch

from tenon.adapters.files import CARD
from tenon.adapters.kind import KINDS
from tenon.core.errors import AdapterError
from tenon.evaluate.answerer import Answerer
from tenon.evaluate.merged import Proof, same_scores
from tenon.evaluate.onnx_card import onnx_card
from tenon.export.beside import copy_beside
from tenon.export.case import Case
from tenon.export.kept import kept, scores_of
from tenon.export.runtime import Runtime
from tenon.export.shrunk import Shrunk, shrunk
from tenon.export.target import TARGETS, Order, Target, Written
from tenon.model.adapted import Adapted
from tenon.model.attending import attention
from tenon.model.graph import Graph, example
from tenon.model.head import Head
from tenon.model.merge import TOLERANCE

GRAPH, SMALL, ABOUT = "model.onnx", "model_int8.onnx", "tenon_onnx.json"
MOST_ROWS = 4096
NOISY = ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")


def write(order: Order, folder: Path) -> Written:
    """Trace the adapter on its base, write the graph and its int8 variant, and run both.

    Raises:
        AdapterError: the graph cannot be traced, or gives other scores on onnxruntime.
    """
    answerer = order.answerer
    manifest = answerer.manifest
    score = partial(scores_of, answerer)
    expected_BL, change = kept(answerer)
    if KINDS.get(manifest.kind).mergeable:
        answerer = answerer.merge()
    model, head = cast(Adapted, answerer.model), cast(Head, answerer.model.head)
    _traced(manifest.name, Graph(model, head, manifest.pooling.mode), folder / GRAPH)
    proof = Proof("float32", TOLERANCE[torch.float32], 0.0, change, (), len(expected_BL))
    whole = Runtime(folder / GRAPH, model.trunk, head)
    error = same_scores(manifest.name, proof, expected_BL, score(whole))
    small = shrunk(folder / GRAPH, folder / SMALL, whole, expected_BL, score, order)
    copy_beside(order.base.folder, folder, manifest)
    _about(answerer, folder, error, small)
    (folder / CARD).write_text(
        onnx_card(manifest, whole.inputs, proof, error, small.notes), "utf-8"
    )
    return Written(proof, error, "onnxruntime.InferenceSession", small.notes)


def _refuses(case: Case) -> str:
    if not case.manifest.writes:
        return ""
    return (
        "its base writes answers, which takes more than one pass; --to onnx is for tasks with a "
        "head. Export it with --to merged"
    )


def _traced(name: str, graph: Graph, path: Path) -> None:
    """Write the graph of one forward pass, any number of rows and tokens.

    Raises:
        AdapterError: torch cannot trace it.
    """
    rows, tokens = torch.export.Dim("rows", max=MOST_ROWS), torch.export.Dim("tokens", min=2)
    rows_of = example(graph)
    shapes = tuple({0: rows, 1: tokens} for _ in rows_of)
    try:
        with attention(graph.trunk.model, "eager"), _quietly(), torch.no_grad():
            program: Any = torch.onnx.export(
                graph.eval(),
                rows_of,
                dynamo=True,
                input_names=list(graph.inputs),
                output_names=["logits"],
                dynamic_shapes=shapes,
                verbose=False,
            )
    except (RuntimeError, ValueError, TypeError, KeyError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise AdapterError(
            f"adapter {name}: torch cannot write its forward pass as a graph ({first[:200]}); "
            "export it with --to merged or --to peft"
        ) from error
    for given in program.model.graph.inputs:
        if any(isinstance(size, int) for size in given.shape):
            raise AdapterError(
                f"adapter {name}: torch writes its forward pass as a graph for one number of rows "
                "alone; export it with --to peft, or serve it with Tenon"
            )
    program.save(path, external_data=False)


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Keep what the exporter tells its own developers from the user."""
    levels = {name: logging.getLogger(name).level for name in NOISY}
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def _about(answerer: Answerer, folder: Path, error: float, small: Shrunk) -> None:
    """Write what a program needs to know of the graphs."""
    manifest = answerer.manifest
    told = {
        "format": 1,
        "name": manifest.name,
        "task": manifest.task,
        "labels": list(manifest.labels),
        "scored": "tokens" if manifest.pooling.mode == "tokens" else "rows",
        "max_tokens": manifest.text.max_tokens,
        "cut": manifest.text.cut,
        "constants": {key: list(values) for key, values in manifest.constants.items()},
        "base_digest": manifest.base.digest,
        "error": error,
        "int8": small.to_json(),
    }
    text = json.dumps(told, indent=2, ensure_ascii=False)
    (folder / ABOUT).write_text(f"{text}\n", "utf-8")


TARGETS.add(
    "onnx",
    Target(
        name="onnx",
        summary="one graph for onnxruntime, and the same in int8 with what that loses",
        keeps_format=False,
        ranked=False,
        measures=True,
        write=write,
        refuses=_refuses,
        needs=("onnx", "onnxruntime", "onnxscript"),
        extra="onnx",
    ),
)
