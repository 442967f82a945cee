"""What is made ahead is what would have been made, in the same order."""

from __future__ import annotations

from tenon.train.ahead import Ahead


def test_items_are_made_once_and_in_order():
    made = []

    def items():
        for number in range(4):
            made.append(number)
            yield number

    ahead = Ahead(items())
    assert made == []
    ahead.make()
    ahead.make()
    assert made == [0]
    assert next(ahead) == 0
    assert next(ahead) == 1
    ahead.make()
    assert list(ahead) == [2, 3]
    ahead.make()
    assert made == [0, 1, 2, 3]
