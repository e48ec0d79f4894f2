"""Numbers and their nouns."""

from __future__ import annotations

import pytest

from simsearch.wording import counted


@pytest.mark.parametrize(
    ("number", "told"),
    [(0, "0 queries"), (1, "1 query"), (2, "2 queries"), (1234, "1,234 queries")],
)
def test_a_noun_agrees_with_its_number(number: int, told: str) -> None:
    assert counted(number, "query", "queries") == told


def test_most_nouns_take_an_s() -> None:
    assert (counted(1, "row"), counted(3, "row")) == ("1 row", "3 rows")
