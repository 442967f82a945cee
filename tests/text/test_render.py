"""Renderer: what of an example is read, on tokenizers with and without a place for pairs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bases import ARCHITECTURES
from models import LABELS, PAIRS, TEXTS, examples, renderer_of
from tenon.text.render import JOINT, UNLABELLED, ClassRenderer, Pieces, Renderer

JOINING = ("qwen2", "qwen3", "gpt2")


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_the_border_between_two_texts_is_never_lost(arch, folder_of):
    renderer = renderer_of(folder_of(arch))
    assert renderer.separates_pairs == (arch not in JOINING)
    one, other = examples(["a glad", "a"], ["dog", "glad dog"])
    assert renderer.prompt(one) != renderer.prompt(other)
    single = renderer.prompt(examples(["a glad dog"])[0])
    assert single == Pieces("a glad dog", None, UNLABELLED)
    if arch in JOINING:
        assert renderer.prompt(one) == Pieces(f"a glad{JOINT}dog", None, UNLABELLED)
    else:
        assert renderer.prompt(one) == Pieces("a glad", "dog", UNLABELLED)
        ids = renderer.encode([renderer.prompt(each) for each in (one, other)]).ids
        assert ids[0] != ids[1]


def test_what_is_answered_is_the_place_of_the_label(folder_of):
    renderer = renderer_of(folder_of("bert"))
    made = examples(TEXTS, PAIRS, ["sad", "glad", "tired", None, "unheard"])
    targets = [renderer.train_pieces(each).target for each in made]
    assert targets == [1, 0, 2, UNLABELLED, UNLABELLED]
    for each in made:
        told, asked = renderer.train_pieces(each), renderer.prompt(each)
        assert (told.text, told.pair) == (asked.text, asked.pair)
        assert asked.target == UNLABELLED


def test_the_answer_is_the_likeliest_label_and_the_first_of_equals(folder_of):
    renderer: Renderer = renderer_of(folder_of("bert"))
    assert renderer.parse(np.log(np.array([0.1, 0.2, 0.7], np.float32))) == "tired"
    assert renderer.parse(np.log(np.array([0.4, 0.4, 0.2], np.float32))) == "glad"


def test_the_digest_tells_all_that_changes_token_ids_or_classes(folder_of):
    renderer = renderer_of(folder_of("bert"))
    assert renderer.digest == renderer_of(folder_of("bert")).digest
    others = [
        replace(renderer, labels=LABELS[::-1]),
        replace(renderer, labels=(*LABELS, "x")),
        replace(renderer, limit=47),
        replace(renderer, side="left"),
        renderer_of(folder_of("gpt2")),
    ]
    assert len({renderer.digest, *(each.digest for each in others)}) == len(others) + 1


@pytest.mark.parametrize("side", ["right", "left"])
def test_limit_and_side_reach_the_ids(side, folder_of):
    renderer = renderer_of(folder_of("llama"), limit=4, side=side)
    whole = renderer_of(folder_of("llama"), limit=400)
    pieces = [renderer.prompt(each) for each in examples()]
    cut, full = renderer.encode(pieces), whole.encode(pieces)
    for ids, all_of_it in zip(cut.ids, full.ids, strict=True):
        expected = all_of_it[:4] if side == "right" else [all_of_it[0], *all_of_it[-3:]]
        assert ids == (all_of_it if len(all_of_it) <= 4 else expected)


def test_texts_and_pairs_are_not_mixed(folder_of):
    """Two texts and one second text would be zipped into rows that nobody wrote."""
    renderer = renderer_of(folder_of("bert"))
    mixed = [Pieces("a", None, 0), Pieces("b", "c", 0), Pieces("d", None, 0)]
    with pytest.raises(ValueError, match="text_pair"):
        renderer.encode(mixed)


def test_it_is_a_value(folder_of):
    renderer = renderer_of(folder_of("bert"))
    same = ClassRenderer(renderer.tokenizer, LABELS, 48, "right")
    assert renderer == same and renderer != replace(same, limit=3)
