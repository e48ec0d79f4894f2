from __future__ import annotations

import pytest

from simsearch.recent import Recent


def made(recent: Recent[str, bytes], *keys: str, size: int = 1) -> list[str]:
    """Ask for each of the keys; return those that had to be made."""
    missing: list[str] = []

    def make(key: str) -> bytes:
        missing.append(key)
        return bytes(size)

    for key in keys:
        assert recent.get(key, lambda key=key: make(key)) == bytes(size)
    return missing


def test_what_was_asked_for_last_is_not_made_again():
    recent = Recent[str, bytes](len, most=2)
    assert made(recent, "a", "b", "a", "c", "a", "b") == ["a", "b", "c", "b"]
    recent.clear()
    assert made(recent, "a") == ["a"]


def test_values_are_let_go_when_they_are_too_large_together():
    recent = Recent[str, bytes](len, most_bytes=25)
    assert made(recent, "a", "b", "c", size=10) == ["a", "b", "c"]
    assert len(recent) == 2
    assert made(recent, "b", "c", "a", size=10) == ["a"]


def test_one_that_is_too_large_by_itself_is_kept_while_it_is_the_last():
    recent = Recent[str, bytes](len, most_bytes=25)
    made(recent, "small")
    assert made(recent, "large", "large", size=30) == ["large"]
    assert len(recent) == 1


def test_nothing_is_kept_of_what_could_not_be_made():
    recent = Recent[str, bytes](len)

    def fail() -> bytes:
        raise ValueError("not to be had")

    for _ in range(2):
        with pytest.raises(ValueError, match="not to be had"):
            recent.get("a", fail)
    assert len(recent) == 0
