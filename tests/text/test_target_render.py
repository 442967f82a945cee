"""Several labels a row, and numbers, become targets; what is read is what a classifier reads."""

from __future__ import annotations

import math

import numpy as np
import pytest

from formed import FORMS, LABELS, NUMBER, SEVERAL, renderer_of, rows_of
from models import renderer_of as classes_of
from tenon.text.tokens import collect


@pytest.mark.parametrize("arch", ["bert", "llama"])
@pytest.mark.parametrize("form", FORMS)
def test_what_is_read_does_not_depend_on_the_form(form, arch, folder_of):
    rows = rows_of(form)
    found = renderer_of(folder_of(arch), form).rows(rows)
    expected = classes_of(folder_of(arch)).rows(rows)
    assert (found.ids, found.types, found.cut) == (expected.ids, expected.types, expected.cut)
    assert found.example == list(range(len(rows)))


def test_labels_are_flags_in_the_order_of_all(folder_of):
    rows = rows_of(SEVERAL)
    made = renderer_of(folder_of("bert"), SEVERAL).rows(rows)
    for row, targets in zip(rows, made.targets, strict=True):
        assert targets == [float(label in row.gold) for label in LABELS]
    unknown = renderer_of(folder_of("bert"), SEVERAL).rows(rows_of(SEVERAL, 2, gold=False))
    assert unknown.targets == [[-1.0] * 3] * 2


def test_a_number_is_itself_and_none_is_nan(folder_of):
    rows = [*rows_of(NUMBER, 4), *rows_of(NUMBER, 1, 9, gold=False)]
    tokens = collect(rows, renderer_of(folder_of("bert"), NUMBER))
    found = np.concatenate([tokens.targets(row) for row in range(5)])
    assert found[:4] == pytest.approx([row.gold for row in rows[:4]], rel=1e-6)
    assert math.isnan(found[4])


def test_forms_do_not_share_a_cache(folder_of):
    folder = folder_of("bert")
    digests = {renderer_of(folder, SEVERAL).digest, renderer_of(folder, NUMBER).digest}
    assert len({*digests, classes_of(folder).digest}) == 3
