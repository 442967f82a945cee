"""Card: the adapter's `README.md`, in the form that model hubs read."""

from __future__ import annotations

import json
from typing import Any

from tenon.adapters.manifest import HEADS, Manifest
from tenon.evaluate.judged_card import judged, results
from tenon.evaluate.report import Report

READING = "question-answering"
PLACES = (
    "logits_TL[0, :2] = logits_TL[0, -1] if len(logits_TL[0]) > 2 else logits_TL[0, :2]",
    "start_T, end_T = logits_TL[:, :2].log_softmax(0).T  # token 0 stands for no answer",
)
POOLED = {
    "mean": "hidden_TD.mean(0)",
    "cls": "hidden_TD[0]",
    "last": "hidden_TD[-1]",
    "pooler": "model.base_model.model.pooler(hidden_TD[None])[0]",
}
OURS = ("bottleneck", "fusion", "prefix")
"""Kinds that PEFT does not have, by the modules that enter them."""
QUANTIZED = {
    "int8": "`quantization_config=TorchAoConfig(Int8WeightOnlyConfig())`",
    "int4": "`quantization_config=TorchAoConfig(IntxWeightOnlyConfig(torch.int4, PerGroup(32), "
    "MappingType.ASYMMETRIC))`",
    "bnb-int8": "`quantization_config=BitsAndBytesConfig(load_in_8bit=True)`",
    "bnb-nf4": "`quantization_config=BitsAndBytesConfig(load_in_4bit=True, "
    'bnb_4bit_quant_type="nf4")`',
}
"""What tells transformers to quantise a base so, by `model.quantize`."""
HUB_NAMES = {
    "multi-label-classification": "text-classification",
    "text-regression": "text-classification",
}
"""Tasks that hubs know under another name."""
ANSWERS = {
    "multi-label-classification": "labels",
    "text-regression": "number",
    "question-answering": "answer",
}
"""What an answer is called in Python, of tasks that give no single label."""


def card(manifest: Manifest, report: Report | None) -> str:
    """Give the card: what the adapter is, how good it is, and how to load it without Tenon.

    Args:
        report: None for an adapter that was composed, and has not been evaluated.
    """
    return "\n".join(
        [
            *_front(manifest, report),
            f"# {manifest.name}",
            "",
            f"An adapter of kind `{manifest.kind}` for {manifest.task} over `{manifest.base.name}`"
            f" ({manifest.base.digest[:12]}), made with Tenon {manifest.tenon}.",
            "",
            *(_composed(manifest) if report is None else judged(report)),
            "",
            "## Use",
            "",
            *_quantized(manifest),
            *use_of(manifest),
            *from_scores(manifest),
            *labels_of(manifest),
        ]
    )


def _quantized(manifest: Manifest) -> list[str]:
    """Say how a base must be loaded that the adapter was trained on in few bits."""
    said = QUANTIZED.get(manifest.base.quantize)
    if not said:
        return []
    return [
        f"The base was quantised while the adapter was trained (`{manifest.base.quantize}`): its "
        "layers' linear weights, nothing else. Tenon quantises it so again, and proves it. Nearest "
        f"to it without Tenon is {said}, which also reads other layers and computes otherwise.",
        "",
    ]


def use_of(manifest: Manifest) -> list[str]:
    """Say how to load the adapter, with Tenon and without."""
    return [*_with_tenon(manifest), *without_tenon(manifest)]


def labels_of(manifest: Manifest) -> list[str]:
    """Give the names of the labels in their order."""
    if not manifest.labels:
        return []
    return ["## Labels", "", ", ".join(f"`{label}`" for label in manifest.labels), ""]


def from_scores(manifest: Manifest) -> list[str]:
    """Say how logits become answers, where that takes more than the largest one."""
    constants = manifest.constants
    if manifest.temperature != 1:
        return [
            "The softmax of the logits is calibrated: the head's weights are divided by a "
            f"temperature of {manifest.temperature:.4g}, which was fitted on dev.",
            "",
        ]
    if "mean" in constants:
        (mean,), (spread,) = constants["mean"], constants["spread"]
        return [f"The number is `{spread:.9g} * logit + {mean:.9g}`.", ""]
    if "thresholds" not in constants:
        return []
    thresholds = dict(zip(manifest.labels, constants["thresholds"], strict=True))
    if len(set(thresholds.values())) == 1:
        each = f"{next(iter(thresholds.values())):.6g}, which was chosen on dev"
    else:
        each = "its own, chosen on dev: " + ", ".join(f"{n} {t:.6g}" for n, t in thresholds.items())
    return [f"A label is answered where the sigmoid of its logit reaches {each}.", ""]


def _composed(manifest: Manifest) -> list[str]:
    """Say what the adapter was made of, and that nothing has been measured."""
    told = manifest.composed
    share = f", density {told['density']:g}" if "density" in told else ""
    lost = f", which took {100 * told['error']:.2g} % of the change" if told.get("error") else ""
    cut = f", rank {told['rank']}{lost}" if "rank" in told else ""
    rows = [
        f"| {parent.name} | {parent.kind} | {parent.weight:g} | `{parent.digest[:12]}` |"
        for parent in manifest.parents
    ]
    return [
        "## What it is made of",
        "",
        f"`{told['composition']}`, by method {told['method']}{share}{cut}.",
        "It was not trained, and has not been evaluated: `tenon eval` does that.",
        "",
        "| adapter | kind | weight | digest |",
        "|---|---|---|---|",
        *rows,
    ]


def front(manifest: Manifest, library: str, *tags: str, **more: Any) -> list[str]:
    """Give what stands before a card for hubs to read.

    Args:
        library: that reads the files, as hubs name it.
        tags: beside Tenon's own.
        more: further fields.
    """
    fields = {
        "base_model": manifest.base.name,
        "library_name": library,
        "pipeline_tag": HUB_NAMES.get(manifest.task, manifest.task),
        "tags": ["tenon", *tags],
        **more,
    }
    lines = [f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in fields.items()]
    return ["---", *lines, "---", ""]


def _front(manifest: Manifest, report: Report | None) -> list[str]:
    task = HUB_NAMES.get(manifest.task, manifest.task)
    judgement = {} if report is None else _index(manifest.name, task, report)
    return front(manifest, "peft", manifest.kind.split(".")[0], "adapter", **judgement)


def _index(name: str, task: str, report: Report) -> dict[str, Any]:
    return {"model-index": [{"name": name, "results": results(task, report)}]}


def _with_tenon(manifest: Manifest) -> list[str]:
    answer = "spans" if manifest.pooling.mode == "tokens" else "label"
    answer = "text" if manifest.writes else ANSWERS.get(manifest.task, answer)
    asked = '("a question", "a context")' if manifest.task == READING else '"a text"'
    return [
        "```python",
        "import tenon",
        "",
        'adapter = tenon.load_adapter("path/of/this/folder")',
        f"print(adapter.predict([{asked}])[0].{answer})",
        "```",
        "",
    ]


def without_tenon(manifest: Manifest) -> list[str]:
    """Say how to load the adapter with PEFT and transformers alone."""
    base = json.dumps(manifest.base.name)
    ours = next((name for name in OURS if manifest.kind.startswith(f"{name}.")), "")
    first = [f"import tenon.adapters.{ours}  # registers the kind with PEFT"] if ours else []
    if manifest.writes:
        return _writing_without_tenon(manifest, base, first)
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
        return _tokens_without_tenon(base, first, reading=manifest.task == READING)
    changed = changes(manifest)
    return [
        "With transformers and PEFT alone. No head class of transformers reads the base as this",
        "adapter does, so the head is a file of its own:",
        "",
        "```python",
        *first,
        *(["import torch"] if manifest.pooling.dense else []),
        "from peft import PeftModel",
        "from safetensors.torch import load_file",
        "from transformers import AutoModel, AutoTokenizer",
        "",
        f"tokenizer = AutoTokenizer.from_pretrained({base})",
        f'model = PeftModel.from_pretrained(AutoModel.from_pretrained({base}), "folder").eval()',
        'head = load_file("folder/head.safetensors")',
        'hidden_TD = model(**tokenizer("a text", return_tensors="pt")).last_hidden_state[0]',
        f"vector_D = {POOLED[manifest.pooling.mode]}",
        *changed,
        'logits_L = head["weight"] @ vector_D + head["bias"]',
        "```",
        "",
    ]


def changes(manifest: Manifest) -> list[str]:
    """Give the lines that make of a pooled vector what the head's last layer reads."""
    dense, form = manifest.pooling.dense, manifest.pooling
    layer = 'head["dense.weight"] @ vector_D + head["dense.bias"]'
    lines = [f"vector_D = torch.nn.functional.{dense}({layer})"] if dense else []
    return [*lines, *(["vector_D = vector_D / vector_D.norm()"] if form.normalize else [])]


def _writing_without_tenon(manifest: Manifest, base: str, first: list[str]) -> list[str]:
    text, prompt = manifest.text, '"a prompt"'
    if text.instruction:
        prompt = f"{json.dumps(text.instruction, ensure_ascii=False)}.replace('{{}}', {prompt})"
    if manifest.head == "seq2seq":
        return _seq2seqwithout_tenon(manifest, base, first, prompt)
    asked = [f"rows = tokenizer({prompt}, return_tensors='pt')"]
    if text.template == "chat":
        asked = [
            f'turns = [{{"role": "user", "content": {prompt}}}]',
            "rows = tokenizer.apply_chat_template(",
            '    turns, add_generation_prompt=True, return_dict=True, return_tensors="pt"',
            ")",
        ]
    return [
        "With transformers and PEFT alone:",
        "",
        "```python",
        *first,
        "from peft import PeftModel",
        "from transformers import AutoModelForCausalLM, AutoTokenizer",
        "",
        f"tokenizer = AutoTokenizer.from_pretrained({base})",
        f"base = AutoModelForCausalLM.from_pretrained({base})",
        'model = PeftModel.from_pretrained(base, "folder").eval()',
        *asked,
        f"length = {text.max_new_tokens}",
        "ids = model.generate(**rows, do_sample=False, max_new_tokens=length)",
        "print(tokenizer.decode(ids[0, rows['input_ids'].shape[1]:], skip_special_tokens=True))",
        "```",
        "",
    ]


def _seq2seqwithout_tenon(
    manifest: Manifest, base: str, first: list[str], prompt: str
) -> list[str]:
    text = manifest.text
    codes = {"src_lang": text.source_language, "tgt_lang": text.target_language}
    spoken = "".join(f", {name}={json.dumps(code)}" for name, code in codes.items() if code)
    return [
        "With transformers and PEFT alone:",
        "",
        "```python",
        *first,
        "import torch",
        "from peft import PeftModel",
        "from transformers import AutoModelForSeq2SeqLM, AutoTokenizer",
        "",
        f"tokenizer = AutoTokenizer.from_pretrained({base}{spoken})",
        f"base = AutoModelForSeq2SeqLM.from_pretrained({base})",
        'model = PeftModel.from_pretrained(base, "folder").eval()',
        'lead = tokenizer(text_target="a", return_special_tokens_mask=True)',
        'count = lead["special_tokens_mask"].index(0)  # what stands before every answer',
        'start = [base.config.decoder_start_token_id, *lead["input_ids"][:count]]',
        f"rows = tokenizer({prompt}, return_tensors='pt')",
        "said = torch.tensor([start])",
        f"length = {text.max_new_tokens}",
        "ids = model.generate(",
        "    **rows, decoder_input_ids=said, do_sample=False, num_beams=1, max_new_tokens=length,",
        "    forced_eos_token_id=None,",
        ")",
        "print(tokenizer.decode(ids[0, len(start):], skip_special_tokens=True))",
        "```",
        "",
    ]


def _tokens_without_tenon(base: str, first: list[str], *, reading: bool) -> list[str]:
    asked = '"a question", "a context"' if reading else '"a text"'
    scored = [
        'logits_TL = hidden_TD @ head["weight"].T + head["bias"]  # of the labels below, in order',
        *(PLACES if reading else ()),
    ]
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
        f'hidden_TD = model(**tokenizer({asked}, return_tensors="pt")).last_hidden_state[0]',
        *scored,
        "```",
        "",
    ]
