"""Spelling: pieces together are the text, and none shows half of what is not yet sure."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from tenon.text.spelling import HALF, Spelling

ALPHABET = st.text(st.sampled_from("ab .é汉😀"), max_size=12)
SENTENCES = ["a b", " 汉a", "é. b", "😀b 汉", "a  a", "."]


def of_bytes() -> Tokenizer:
    """Give a tokenizer whose tokens are bytes, so that a character takes up to four."""
    names = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE({name: n for n, name in enumerate(names)}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    return made


def of_words(decoder: decoders.Decoder, mark: str) -> Tokenizer:
    """Give a tokenizer of words, with a mark where one begins or goes on."""
    words = [f"{mark}{word}" for word in ("a", "b", "汉", "é.")] + ["a", "b", "😀", "."]
    made = Tokenizer(models.WordLevel({word: n for n, word in enumerate(words)}, words[0]))
    made.decoder = decoder
    return made


MANY = {
    "bytes": of_bytes(),
    "metaspace": of_words(decoders.Metaspace(), "▁"),
    "wordpiece": of_words(decoders.WordPiece(cleanup=False), "##"),
}


def pieces(made: Tokenizer, ids, stop=()) -> tuple[list[str], Spelling]:
    """Spell an answer token by token, until it has ended."""
    spelling = Spelling(lambda some: made.decode(list(some)), tuple(stop))
    told = []
    for token in ids:
        told.append(spelling.put(token))
        if spelling.stopped:
            break
    return [*told, spelling.end()], spelling


@pytest.mark.parametrize("which", MANY)
@given(data=st.data())
def test_pieces_are_the_text_and_no_character_is_halved(which, data):
    made = MANY[which]
    ids = data.draw(st.lists(st.integers(0, made.get_vocab_size() - 1), max_size=14))
    told, _ = pieces(made, ids)
    assert "".join(told) == made.decode(ids)
    assert not any(piece.endswith(HALF) for piece in told[:-1])


@given(text=ALPHABET, stop=st.lists(ALPHABET.filter(bool), max_size=3))
def test_an_answer_ends_before_the_first_stop_text(text, stop):
    made = MANY["bytes"]
    told, spelling = pieces(made, made.encode(text).ids, stop)
    # The first to be complete ends it, though another one may have begun before.
    ends = [end for end in range(len(text) + 1) if any(text[:end].endswith(one) for one in stop)]
    if not ends:
        assert "".join(told) == text and not spelling.stopped
        return
    seen = text[: ends[0]]
    begun = min(place for one in stop if (place := seen.find(one)) >= 0)
    assert "".join(told) == text[:begun] and spelling.stopped


@given(text=ALPHABET, stop=ALPHABET.filter(bool))
def test_what_may_become_a_stop_text_is_held_back(text, stop):
    """What was shown is no beginning of a stop text, and what was not is one."""
    made = MANY["bytes"]
    spelling, shown = Spelling(lambda ids: made.decode(list(ids)), (stop,)), ""
    for place, character in enumerate(text, 1):
        shown += "".join(spelling.put(token) for token in made.encode(character).ids)
        if spelling.stopped:
            break
        seen = text[:place]
        assert seen.startswith(shown)
        assert not any(stop.startswith(seen[begin:]) for begin in range(len(shown)))
        held = seen[len(shown) :]
        assert stop.startswith(held), "no more is held back than has to be"
