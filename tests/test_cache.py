from __future__ import annotations

import hashlib
import os

from simsearch import cache


def test_a_result_is_remembered_until_the_file_changes(tmp_path):
    file = tmp_path / "weights"
    file.write_bytes(b"one")
    computed = []

    def compute():
        computed.append(file.read_bytes())
        return f"result {len(computed)}"

    assert cache.remembered("kind", [file], compute) == "result 1"
    assert cache.remembered("kind", [file], compute) == "result 1"
    file.write_bytes(b"three")
    assert cache.remembered("kind", [file], compute) == "result 2"
    assert computed == [b"one", b"three"]


def test_a_touched_file_is_read_again(tmp_path):
    file = tmp_path / "weights"
    file.write_bytes(b"one")
    before = cache.file_sha256(file)
    file.write_bytes(b"two")
    os.utime(file, ns=(1, 1))
    assert before == hashlib.sha256(b"one").hexdigest()
    assert cache.file_sha256(file) == hashlib.sha256(b"two").hexdigest()


def test_an_unusable_cache_costs_time_and_nothing_else(tmp_path, monkeypatch):
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where the cache should be")
    monkeypatch.setenv("SIMSEARCH_CACHE", str(blocked))
    file = tmp_path / "weights"
    file.write_bytes(b"one")
    assert cache.file_sha256(file) == hashlib.sha256(b"one").hexdigest()


def test_the_cache_is_in_the_home_directory_unless_named(monkeypatch):
    monkeypatch.delenv("SIMSEARCH_CACHE")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert str(cache.cache_directory()) == "/home/somebody/.cache/simsearch"
