"""Tokens: rows as token ids in a memory-mapped file, whatever their number; whole or absent."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from folders import WORDS
from models import LABELS, PAIRS, TEXTS, examples, renderer_of
from tenon.core.errors import DataError, FileError
from tenon.text.tokens import CHUNK_ROWS, collect, open_tokens, tokenize

MANY = 2 * CHUNK_ROWS + 77


class Counted:
    """A progress that counts."""

    def __init__(self):
        self.rows = 0

    def start(self, what, total, *, done=0):
        raise AssertionError(what)

    def advance(self, n, **fields):
        self.rows += n


@pytest.fixture(scope="module")
def renderer(folder_of):
    return renderer_of(folder_of("bert"), limit=9)


@pytest.fixture(scope="module")
def many(renderer, tmp_path_factory):
    """More rows than two chunks hold; row n says so in its text, its length and its label."""
    texts = [" ".join(WORDS[place % 7 + n] for n in range(place % 11 + 1)) for place in range(MANY)]
    labels = [None if place % 5 == 4 else LABELS[place % 3] for place in range(MANY)]
    made = examples(texts, labels=labels)
    progress = Counted()
    path = tmp_path_factory.mktemp("tokens") / "deep" / "er" / "train.arrow"
    tokens = tokenize(made, renderer, path, progress)
    assert progress.rows == MANY
    return made, tokens, path


def test_every_row_of_every_chunk_is_what_it_is_alone(many, renderer):
    made, tokens, _ = many
    assert len(tokens) == MANY and tokens.table["ids"].num_chunks == 3
    edges = [0, 1, CHUNK_ROWS - 1, CHUNK_ROWS, CHUNK_ROWS + 1, 2 * CHUNK_ROWS - 1, 2 * CHUNK_ROWS]
    for row in [*edges, 500, 9000, MANY - 1]:
        alone = renderer.encode([renderer.train_pieces(made[row])])
        assert tokens.ids(row).tolist() == alone.ids[0]
        assert tokens.types(row) is None
        assert tokens.lengths_R[row] == len(alone.ids[0])
        label = made[row].gold
        assert tokens.labels_R[row] == (-1 if label is None else LABELS.index(label))
        for name in ("id", "origin", "text", "pair"):
            assert tokens.column(name)[row] == getattr(made[row], name)


def test_the_sums_are_those_of_the_rows(many):
    _, tokens, _ = many
    assert tokens.total == tokens.lengths_R.sum() == sum(len(tokens.ids(n)) for n in range(MANY))
    assert tokens.lengths_R.dtype == np.int64 and tokens.labels_R.dtype == np.int32
    whole = np.array([place % 11 + 1 + 2 for place in range(MANY)])  # known words and two signs
    assert (tokens.lengths_R <= whole.clip(max=9)).all()
    assert tokens.rows_cut == int((whole > 9).sum()) > 0
    assert tokens.tokens_cut == int((whole - 9).clip(min=0).sum())


def test_a_file_opened_again_is_the_same_and_is_not_read_into_memory(many):
    _, tokens, path = many
    before = pa.total_allocated_bytes()
    again = open_tokens(path, 9)
    assert again.table.equals(tokens.table)
    assert again.ids(CHUNK_ROWS).tolist() == tokens.ids(CHUNK_ROWS).tolist()
    assert pa.total_allocated_bytes() - before < 100_000 < path.stat().st_size
    assert not again.ids(3).flags.owndata
    assert [p.name for p in path.parent.iterdir()] == [path.name]


@settings(max_examples=8)
@given(rows=st.lists(st.integers(0, MANY - 1), max_size=30))
def test_taken_rows_are_the_rows(many, rows):
    _, tokens, _ = many
    taken = tokens.take(np.array(rows, np.int64))
    assert len(taken) == len(rows) and taken.limit == tokens.limit
    assert [taken.ids(n).tolist() for n in range(len(rows))] == [
        tokens.ids(r).tolist() for r in rows
    ]
    assert taken.labels_R.tolist() == tokens.labels_R[rows].tolist()
    assert taken.lengths_R.tolist() == tokens.lengths_R[rows].tolist()
    assert taken.column("origin") == [tokens.column("origin")[row] for row in rows]


def test_more_taken_rows_than_a_chunk_holds(many):
    _, tokens, _ = many
    rows = np.arange(MANY - 1, 30, -1)
    taken = tokens.take(rows)
    for place in (0, 5, CHUNK_ROWS - 1, CHUNK_ROWS, CHUNK_ROWS + 9, len(rows) - 1):
        assert taken.ids(place).tolist() == tokens.ids(int(rows[place])).tolist()
    assert taken.lengths_R.tolist() == tokens.lengths_R[rows].tolist()
    again = taken.take(np.array([CHUNK_ROWS + 9, 3]))
    assert again.ids(0).tolist() == tokens.ids(int(rows[CHUNK_ROWS + 9])).tolist()


def test_types_of_pairs_are_kept_and_cut_with_the_ids(renderer):
    tokens = collect(examples(TEXTS, PAIRS), renderer)
    alone = renderer.encode([renderer.prompt(example) for example in examples(TEXTS, PAIRS)])
    for row in range(len(tokens)):
        assert tokens.types(row).tolist() == alone.types[row]
        assert len(tokens.types(row)) == len(tokens.ids(row)) <= 9


def test_a_chunk_whose_types_are_all_zero_stands_beside_one_with_types(renderer):
    """Types are left out by chunk: rows of single texts, then, in another chunk, pairs."""
    singles = examples(["a day"] * CHUNK_ROWS)
    tokens = collect([*singles, *examples(TEXTS, PAIRS)], renderer)
    assert tokens.types(0).tolist() == [0] * int(tokens.lengths_R[0])
    assert max(tokens.types(CHUNK_ROWS)) == 1
    taken = tokens.take(np.array([3, CHUNK_ROWS + 1]))
    assert taken.types(0).tolist() == [0] * int(taken.lengths_R[0])
    assert taken.types(1).tolist() == tokens.types(CHUNK_ROWS + 1).tolist()


def test_no_rows_at_all(renderer, tmp_path):
    for tokens in (collect([], renderer), tokenize([], renderer, tmp_path / "none.arrow")):
        assert len(tokens) == tokens.total == tokens.rows_cut == tokens.tokens_cut == 0
        assert tokens.lengths_R.tolist() == tokens.labels_R.tolist() == tokens.column("id") == []
        assert len(tokens.take(np.zeros(0, np.int64))) == 0


def test_a_text_without_tokens_is_refused_and_nothing_is_written(folder_of, tmp_path):
    renderer = renderer_of(folder_of("qwen2"))
    made = examples(["a day", "家", "a dog", "店"])
    with pytest.raises(DataError, match=r"^t.csv:3: .*\(2 such rows\)"):
        tokenize(made, renderer, tmp_path / "x.arrow")
    with pytest.raises(DataError, match=r"^t.csv:3: "):
        collect(made, renderer)
    assert list(tmp_path.iterdir()) == []


def test_what_was_there_stays_where_the_examples_end_in_an_error(renderer, tmp_path):
    path = tmp_path / "x.arrow"
    tokenize(examples(), renderer, path)
    before = path.read_bytes()

    def failing():
        yield from examples(["a day"] * (CHUNK_ROWS + 5))
        raise DataError("t.csv:9: broken")

    with pytest.raises(DataError, match="broken"):
        tokenize(failing(), renderer, path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_a_place_that_cannot_be_written_is_named(renderer, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="x.arrow: cannot be written"):
        tokenize(examples(), renderer, tmp_path / "file" / "x.arrow")


def test_a_file_cut_short_anywhere_is_refused_with_the_remedy(renderer, tmp_path):
    path = tmp_path / "x.arrow"
    tokenize(examples(), renderer, path)
    whole = path.read_bytes()
    for size in [0, 1, 7, *range(8, len(whole), 211), len(whole) - 1]:
        path.write_bytes(whole[:size])
        with pytest.raises(FileError, match=f"^{path}: not a token file; remove it"):
            open_tokens(path, 9)


def test_another_file_is_refused(renderer, tmp_path):
    path = tmp_path / "x.arrow"
    for content in (b"text", b"{}" * 9000, b"ARROW1\0\0" + b"\0" * 99 + b"ARROW1"):
        path.write_bytes(content)
        with pytest.raises(FileError, match=f"^{path}: not a token file; remove it and run again"):
            open_tokens(path, 9)
    table = pa.table({"ids": [[1, 2]]})
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    with pytest.raises(FileError, match="a token file of another version; remove it"):
        open_tokens(path, 9)
    with pytest.raises(FileError, match="no such file"):
        open_tokens(tmp_path / "nothing", 9)


def test_a_label_that_is_not_known_is_no_label(renderer):
    made = examples(["a"] * 4, labels=["glad", None, "tired", "other"])
    assert collect(made, renderer).labels_R.tolist() == [0, -1, 2, -1]
    assert collect(made, replace(renderer, labels=("other",))).labels_R.tolist() == [-1, -1, -1, 0]
