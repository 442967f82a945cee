"""What answers without being trained: the base alone, the base with examples, and copies."""

from __future__ import annotations

import numpy as np
import pytest

from tenon.data.gold import Turn
from tenon.data.text_generation import example_of
from tenon.evaluate.settings import EvaluateSettings
from tenon.evaluate.write import How, write
from tenon.evaluate.write_rivals import SHOTS, lead_sentences, rivals, shots_of
from tenon.text.tokens import collect
from writers import causal_folder, examples, pairs, renderer_of, writer


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return causal_folder(tmp_path_factory.mktemp("rivals"), "llama")


def test_shots_depend_on_ids_and_seed_alone():
    given = examples(pairs(40))
    drawn = shots_of(given, 1)
    assert len(drawn) == SHOTS
    assert shots_of(given[::-1], 1) == drawn != shots_of(given, 2)


def test_conversations_and_rows_without_answers_are_no_shots():
    talk = example_of(
        tuple(
            Turn(role, text, trained=role == "assistant")
            for role, text in (("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d"))
        ),
        "x:1",
    )
    assert shots_of([talk, *examples(pairs(3), answered=False)], 0) == ()


def test_the_base_with_examples_is_the_base_that_reads_them(folder):
    """Its answers are those to a prompt that the examples are written in by hand."""
    given = examples(pairs(12))
    shots = shots_of(examples(pairs(30, seed=4)), 0)
    renderer = renderer_of(folder, limit=400)
    settings = EvaluateSettings(max_new_tokens=6, written_rows=5, bleu_tokenizer="13a")
    how = How(renderer, settings, 0, shots)
    model, tokens = writer(folder, "houlsby", shaken=True), collect(given, renderer)
    mine = write(model, tokens, (), batch_tokens=900, how=how)
    found = rivals(
        model, tokens, mine, ("few_shot",), batch_tokens=900, examples=lambda: given, how=how
    )["few_shot"]
    asked = [row for row, answer in enumerate(mine.answers) if answer is not None]
    assert list(found.origins) == [mine.origins[row] for row in asked]
    assert list(found.texts) == [mine.texts[row] for row in asked], "shown as they were asked"
    shown = "\n\n".join(f"{shot.turns[0].text}{shot.turns[1].text}" for shot in shots)
    by_hand = [
        example_of(
            (Turn("user", f"{shown}\n\n{given[row].text}"), given[row].turns[-1]),
            given[row].origin,
        )
        for row in asked
    ]
    whole = settings.model_copy(update={"written_rows": 0})
    bare = writer(folder, adapter=False)
    expected = write(
        bare, collect(by_hand, renderer), (), batch_tokens=900, how=How(renderer, whole, 0)
    )
    assert list(found.answers) == list(expected.answers)
    np.testing.assert_allclose(found.nats_R, expected.nats_R, rtol=1e-5)


def test_copies_say_what_was_asked(folder):
    given = examples([("one. two. three. four.", "x"), ("alone", "y")])
    renderer = renderer_of(folder)
    settings = EvaluateSettings(max_new_tokens=2, written_rows=0, bleu_tokenizer="13a")
    model, tokens = writer(folder), collect(given, renderer)
    how = How(renderer, settings, 0)
    mine = write(model, tokens, (), batch_tokens=900, how=how)
    wanted = ("copy_source", "lead_3")
    found = rivals(model, tokens, mine, wanted, batch_tokens=900, examples=list, how=how)
    assert list(found["copy_source"].answers) == ["one. two. three. four.", "alone"]
    assert list(found["lead_3"].answers) == ["one. two. three.", "alone"]
    assert not found["lead_3"].tokens_R.any(), "nobody knows how likely a copy is"


@pytest.mark.parametrize(
    ("text", "lead"),
    [
        ("A. B! C? D.", "A. B! C?"),
        ("一。二！三？四。", "一。二！三？"),
        (
            'He said 3.14 is it. "Then left!" Or not. End.',
            'He said 3.14 is it. "Then left!" Or not.',
        ),
        ("no end at all", "no end at all"),
        ("One.\n\nTwo.\nThree. Four.", "One.\n\nTwo.\nThree."),
        ("", ""),
    ],
)
def test_the_first_three_sentences(text, lead):
    assert lead_sentences(text) == lead
