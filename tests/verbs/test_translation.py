"""Translation and summarization by the whole command, on encoder-decoders and decoders."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

import tenon
from encoder_decoders import folder_of
from tenon.core.errors import PlanError
from tenon.core.files import read_json
from tenon.data.check import check
from tenon.data.load import sniff
from tenon.plan.resolve import resolve_table
from verbs.test_generation import run, typed
from writers import CHATML, causal_folder, pairs

EXAMPLES = Path(__file__).parents[2] / "examples"
QUICK = ["train.epochs=2", "evaluate.resamples=200", "train.learning_rate=0.01", "model.device=cpu"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """A folder with parallel files in two languages, and bases."""
    folder = tmp_path_factory.mktemp("corpus")
    for part, count, seed in (("train", 80, 0), ("test", 30, 5)):
        for place, code in enumerate(("en", "de")):
            lines = [pair[place].strip() for pair in pairs(count, seed)]
            (folder / f"{part}.{code}").write_text("\n".join(lines) + "\n")
    folder_of(folder, "t5")
    folder_of(folder, "bart")
    causal_folder(folder, "llama", CHATML)
    return folder


@pytest.fixture(scope="module")
def trained(corpus):
    """A run of an encoder-decoder on the parts of the folder."""
    from verbs.test_generation import command

    out = corpus / "run"
    words = [f"{corpus}#en-de", f"base={corpus / 'seq2seq-bart'}", *QUICK]
    assert command("train", *words, "--out", out, "--quiet") == 0
    return out


def test_the_report_leads_with_bleu_and_its_signature(trained):
    report = read_json(trained / "report" / "report.json")
    assert report["task"] == "translation"
    assert list(report["metrics"]["test"]) == ["bleu", "chrf", "bits_per_byte", "perplexity"]
    assert list(report["baselines"]) == ["zero_shot", "copy_source"]
    assert "bits_per_byte" not in report["baselines"]["copy_source"]
    assert report["verdict"].startswith("BLEU on test is ")
    notes = " ".join(report["notes"])
    assert "nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp" in notes
    assert "rows are packed: proved equal to padded on this base" in notes
    page = (trained / "report" / "report.html").read_text()
    assert "Text copied" in page and "Base alone" in page


def test_nothing_in_a_run_folder_names_the_machine(trained, corpus):
    report = (trained / "report" / "report.json").read_text()
    assert str(corpus / "test.en") not in report and "test.en:" in report
    assert 'train = "../train.en+../train.de"' in (trained / "run.toml").read_text()


def test_the_same_command_finds_the_run_again(trained, corpus, capsys):
    told = run(capsys, "train", trained / "run.toml", "--out", trained)
    assert "BLEU on test" in told


def test_eval_gives_the_scores_of_the_run(trained, corpus, capsys):
    again = json.loads(run(capsys, "eval", trained, "--json"))
    first = read_json(trained / "report" / "report.json")
    for name, interval in first["metrics"]["test"].items():
        assert again["metrics"]["test"][name] == pytest.approx(interval, rel=1e-5), name
    other = f"{corpus / 'train.en'}+{corpus / 'train.de'}"
    told = " ".join(run(capsys, "eval", trained, other).split())
    assert "the adapter learned from" in told


def test_the_card_is_right_without_tenon(trained, capsys, monkeypatch):
    """What the card says, line by line, gives the answer that Tenon gives."""
    folder = trained / "adapter"
    assert read_json(folder / "adapter_config.json")["task_type"] == "SEQ_2_SEQ_LM"
    typed(monkeypatch, "red fox\n")
    ours = json.loads(run(capsys, "predict", trained, "-"))["answer"]
    card = (folder / "README.md").read_text()
    code = card.split("```python")[2].split("```")[0]
    code = code.replace('"folder"', repr(str(folder))).replace('"a prompt"', '"red fox"')
    code = code.replace("AutoTokenizer.from_pretrained(", "tokenizer_of(")
    names = {"tokenizer_of": AutoTokenizer.from_pretrained}
    exec(code, names)  # noqa: S102 - it is the test
    assert capsys.readouterr().out.rstrip("\n") == ours


def test_transformers_and_peft_load_it(trained, corpus):
    base = AutoModelForSeq2SeqLM.from_pretrained(corpus / "seq2seq-bart")
    model = PeftModel.from_pretrained(base, trained / "adapter").eval()
    ids = torch.tensor([[1, 40, 41, 2]])
    assert model(input_ids=ids, decoder_input_ids=ids).logits.shape == (1, 4, 100)


def test_a_conversation_with_an_encoder_decoder(trained):
    session = tenon.chat(trained, compare=True)
    heard = session.say("red fox")
    assert not session.remembers
    assert isinstance(heard.adapter.text, str) and heard.base is not None
    told: list[str] = []
    alone = tenon.chat(trained).say("red fox", told.append)
    assert "".join(told) == alone.adapter.text == heard.adapter.text


def test_a_decoder_is_asked_to_translate(corpus, capsys, tmp_path):
    base = corpus / "llama-chat"
    words = [f"{corpus / 'train.en'}+train.de", f"base={base}", *QUICK]
    told = json.loads(run(capsys, "train", *words, "--out", tmp_path / "run", "--json"))
    assert any("Translate: {}" in note for note in told["report"]["notes"])
    assert set(told["report"]["baselines"]) == {"zero_shot", "few_shot", "copy_source"}
    assert read_json(tmp_path / "run" / "adapter" / "tenon.json")["text"]["instruction"] == (
        "Translate: {}"
    )


@pytest.mark.parametrize(
    ("arguments", "phrase"),
    [
        (['evaluate.against=["few_shot"]'], "few_shot has no effect, as an encoder-decoder"),
        (["text.template=chat"], "an encoder-decoder reads texts as they are"),
        (["text.target_language=de_DE"], "has no codes of languages"),
        (['evaluate.scorers=["accuracy"]'], "which is no scorer of translation"),
        (['evaluate.scorers=["chrf"]', "evaluate.bleu_tokenizer=zh"], "bleu is not among"),
        (["text.instruction={}"], "has no effect: it is the prompt alone"),
        (["text.instruction=nothing"], "holds {} 0 times"),
        (['data.labels=["a"]'], "translation has no labels"),
        (["data.columns.label=x"], "no column 'x'; this row has source, target"),
    ],
)
def test_what_would_change_nothing_is_refused(arguments, phrase, corpus, capsys):
    base = f"base={corpus / 'seq2seq-t5'}"
    told = run(capsys, "plan", f"{corpus}#en-de", base, *arguments, code=2)
    assert phrase in " ".join(told.split())


def test_an_encoder_decoder_writes_and_does_no_more(corpus, tmp_path, capsys):
    (tmp_path / "rows.csv").write_text(
        "text,label\n" + "".join(f"a dog {n},{n % 2}\n" for n in range(60))
    )
    told = run(
        capsys, "plan", tmp_path / "rows.csv", f"base={corpus / 'seq2seq-bart'}", code=2
    )  # fmt: skip
    assert "bart is an encoder-decoder, which writes texts" in " ".join(told.split())


def test_a_config_without_a_start_is_refused(corpus, tmp_path, capsys):
    import shutil

    shutil.copytree(corpus / "seq2seq-t5", tmp_path / "t5")
    config = read_json(tmp_path / "t5" / "config.json")
    del config["decoder_start_token_id"]
    (tmp_path / "t5" / "config.json").write_text(json.dumps(config))
    told = run(capsys, "plan", f"{corpus}#en-de", f"base={tmp_path / 't5'}", code=2)
    assert "does not say with which token an answer begins" in " ".join(told.split())


CASES = {
    "translation#en-de": ("translation", 120),
    "translation/train.en+train.de": ("translation", 108),
    "summarization/minutes.jsonl": ("summarization", 32),
}


@pytest.mark.parametrize("name", CASES)
def test_an_example_is_sound_and_known_for_what_it_is(name):
    found = sniff(str(EXAMPLES / name))
    assert found.task == CASES[name][0]
    findings = check(found, 0)
    assert not findings.errors and not findings.warnings, findings.findings


@pytest.mark.parametrize(
    ("task", "source", "arch"),
    [
        ("translation", "translation#en-de", "t5"),
        ("summarization", "summarization/minutes.jsonl", "t5"),
        ("summarization", "summarization/minutes.jsonl", "llama"),
    ],
)
def test_an_example_trains(task, source, arch, corpus, tmp_path):
    found = sniff(str(EXAMPLES / source))
    base = corpus / ("seq2seq-t5" if arch == "t5" else "llama-chat")
    given = {
        "base": str(base),
        "data": {"task": task, "train": found.train, "test": found.test, "dev": 0.4},
        "adapters": {"mood": {"kind": "lora.v1"}},
        "train": {"epochs": 2, "learning_rate": 0.01},
        "evaluate": {"resamples": 200, "written_rows": 12, "max_new_tokens": 20},
        "model": {"device": "cpu"},
    }
    if arch == "llama":  # its 64 positions do not hold these texts, told in letters
        import shutil

        shutil.copytree(base, tmp_path / "wide")
        for name, key in (
            ("config", "max_position_embeddings"),
            ("tokenizer_config", "model_max_length"),
        ):
            path = tmp_path / "wide" / f"{name}.json"
            path.write_text(json.dumps(read_json(path) | {key: 900}))
        given |= {"base": str(tmp_path / "wide"), "text": {"max_tokens": 700}}
    made = tenon.train(resolve_table(given, tmp_path / "run.toml"), tmp_path / "run")
    first, *_, last = (point[1] for point in made.report.learning_curve["loss"])
    assert last < first
    assert made.report.paired["zero_shot"]["bits_per_byte"].difference < 0
    wanted = {"translation": "copy_source", "summarization": "lead_3"}[task]
    assert wanted in made.report.baselines


def test_a_plan_of_no_base_says_what_it_needs():
    with pytest.raises(PlanError, match=r"translation needs .*base="):
        tenon.init(str(EXAMPLES / "translation#en-de"), "never.toml")
