"""Card: the adapter's `README.md`, in the form that model hubs read."""

from __future__ import annotations

import json

from tenon.adapters.manifest import HEADS, Manifest
from tenon.evaluate.report import Report

POOLED = {
    "mean": "hidden_TD.mean(0)",
    "cls": "hidden_TD[0]",
    "last": "hidden_TD[-1]",
    "pooler": "model.base_model.model.pooler(hidden_TD[None])[0]",
}


def card(manifest: Manifest, report: Report) -> str:
    """Give the card: what the adapter is, how good it is, and how to load it without Tenon."""
    return "\n".join(
        [
            _front(manifest, report),
            f"# {manifest.name}",
            "",
            f"An adapter of kind `{manifest.kind}` for {manifest.task} over `{manifest.base.name}`"
            f" ({manifest.base.digest[:12]}), made with Tenon {manifest.tenon}.",
            "",
            "## How good it is",
            "",
            report.verdict,
            "",
            *_numbers(report),
            "",
            "## Use",
            "",
            *_with_tenon(manifest),
            *_without_tenon(manifest),
            "## Labels",
            "",
            ", ".join(f"`{label}`" for label in manifest.labels),
            "",
        ]
    )


def _front(manifest: Manifest, report: Report) -> str:
    lead = next(iter(report.metrics[report.part].items()))
    fields = {
        "base_model": manifest.base.name,
        "library_name": "peft",
        "pipeline_tag": manifest.task,
        "tags": ["tenon", manifest.kind.split(".")[0], "adapter"],
        "model-index": [
            {
                "name": manifest.name,
                "results": [
                    {
                        "task": {"type": manifest.task},
                        "dataset": {"name": report.part, "type": "local"},
                        "metrics": [{"type": lead[0], "value": round(lead[1].value, 6)}],
                    }
                ],
            }
        ],
    }
    lines = [f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in fields.items()]
    return "\n".join(["---", *lines, "---", ""])


def _numbers(report: Report) -> list[str]:
    rows = [f"| {report.part} | value | interval | rows |", "|---|---|---|---|"]
    for name, interval in report.metrics[report.part].items():
        bounds = f"{interval.low:.4f} to {interval.high:.4f}"
        rows.append(f"| {name} | {interval.value:.4f} | {bounds} | {interval.n:,} |")
    return rows


def _with_tenon(manifest: Manifest) -> list[str]:
    answer = "spans" if manifest.pooling.mode == "tokens" else "label"
    return [
        "```python",
        "import tenon",
        "",
        'adapter = tenon.load_adapter("path/of/this/folder")',
        f'print(adapter.predict(["a text"])[0].{answer})',
        "```",
        "",
    ]


def _without_tenon(manifest: Manifest) -> list[str]:
    base = json.dumps(manifest.base.name)
    needs_us = manifest.kind.startswith("bottleneck")
    first = ["import tenon.adapters.bottleneck  # registers the kind with PEFT"] if needs_us else []
    if manifest.layout == "transformers":
        head = HEADS[manifest.base.model_type, manifest.pooling.mode]
        return [
            f"With transformers and PEFT alone (the head is the class's own `{head.name}`):",
            "",
            "```python",
            *first,
            "from peft import PeftModel",
            "from transformers import AutoModelForSequenceClassification",
            "",
            "base = AutoModelForSequenceClassification.from_pretrained(",
            f"    {base}, num_labels={len(manifest.labels)}",
            ")",
            'model = PeftModel.from_pretrained(base, "path/of/this/folder").eval()',
            "```",
            "",
        ]
    if manifest.pooling.mode == "tokens":
        return _tags_without_tenon(base, first)
    scaled = "vector_D = vector_D / vector_D.norm()" if manifest.pooling.normalize else ""
    return [
        "With transformers and PEFT alone. No head class of transformers reads the base as this",
        "adapter does, so the head is a file of its own:",
        "",
        "```python",
        *first,
        "from peft import PeftModel",
        "from safetensors.torch import load_file",
        "from transformers import AutoModel, AutoTokenizer",
        "",
        f"tokenizer = AutoTokenizer.from_pretrained({base})",
        f'model = PeftModel.from_pretrained(AutoModel.from_pretrained({base}), "folder").eval()',
        'head = load_file("folder/head.safetensors")',
        'hidden_TD = model(**tokenizer("a text", return_tensors="pt")).last_hidden_state[0]',
        f"vector_D = {POOLED[manifest.pooling.mode]}",
        *([scaled] if scaled else []),
        'logits_L = head["weight"] @ vector_D + head["bias"]',
        "```",
        "",
    ]


def _tags_without_tenon(base: str, first: list[str]) -> list[str]:
    return [
        "With transformers and PEFT alone; the head is a file of its own, and reads every token:",
        "",
        "```python",
        *first,
        "from peft import PeftModel",
        "from safetensors.torch import load_file",
        "from transformers import AutoModel, AutoTokenizer",
        "",
        f"tokenizer = AutoTokenizer.from_pretrained({base})",
        f'model = PeftModel.from_pretrained(AutoModel.from_pretrained({base}), "folder").eval()',
        'head = load_file("folder/head.safetensors")',
        'hidden_TD = model(**tokenizer("a text", return_tensors="pt")).last_hidden_state[0]',
        'logits_TL = hidden_TD @ head["weight"].T + head["bias"]  # of the tags below, in order',
        "```",
        "",
    ]
