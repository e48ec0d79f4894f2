"""Whatever is done in whatever order, an index answers as a dict and numpy would."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from conftest import HashEncoder
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from simsearch.records import Document
from simsearch.search_index import (
    SearchIndex,
    backup_index,
    check_index,
    compact_index,
    repair_index,
    restore_index,
)

MEMORY = next((each for each in ("/dev/shm",) if os.access(each, os.W_OK)), None)
WORDS = ["card", "bank", "cat", "dog", "mat", "money", "screen", "phone"]
IDS = st.sampled_from([f"id-{n}" for n in range(12)])
TEXTS = st.lists(st.sampled_from(WORDS), min_size=1, max_size=5).map(" ".join)
BATCHES = st.dictionaries(IDS, TEXTS, min_size=1, max_size=6)


class IndexMachine(RuleBasedStateMachine):
    """An index beside a dict of its texts."""

    @initialize()
    def create(self):
        # In memory where there is such a place: what is tested is no disk, and syncs take long.
        self.folder = Path(tempfile.mkdtemp(dir=MEMORY))
        self.path = self.folder / "i"
        self.encoder = HashEncoder()
        self.encoder.dim = 32
        self.model: dict[str, str] = {}
        self.index = SearchIndex.create(self.path, encoder=self.encoder)
        self.reader = SearchIndex.open(self.path, encoder=self.encoder)
        self.saved: dict[str, str] | None = None

    def teardown(self):
        self.index.close()
        self.reader.close()
        shutil.rmtree(self.folder)

    @rule(batch=BATCHES)
    def add(self, batch):
        new = {name: text for name, text in batch.items() if name not in self.model}
        report = self.index.add([Document(name, text) for name, text in new.items()])
        assert report.added == len(new)
        self.model |= new

    @rule(batch=BATCHES)
    def upsert(self, batch):
        report = self.index.upsert([Document(name, text) for name, text in batch.items()])
        same = [name for name, text in batch.items() if self.model.get(name) == text]
        assert report.unchanged == len(same)
        self.model |= batch

    @rule(ids=st.lists(IDS, unique=True))
    def delete(self, ids):
        assert self.index.delete(ids) == len(self.model.keys() & set(ids))
        self.model = {name: text for name, text in self.model.items() if name not in ids}

    @rule(query=TEXTS, k=st.integers(1, 15), by_reader=st.booleans())
    def search(self, query, k, by_reader):
        hits = (self.reader if by_reader else self.index).search(query, k=k)
        assert len(hits) == min(k, len(self.model))
        names = list(self.model)
        vectors = self.encoder.encode_documents([*self.model.values(), query])
        exact = dict(zip(names, (vectors[:-1] @ vectors[-1]).tolist(), strict=True))
        best = np.sort(list(exact.values()))[::-1][:k]
        np.testing.assert_allclose([hit.score for hit in hits], best, atol=1e-5)
        for hit in hits:
            assert abs(exact[hit.id] - hit.score) < 1e-5
            assert hit.text == self.model[hit.id]

    @rule()
    def reopen(self):
        self.index.close()
        self.index = SearchIndex.open(self.path, encoder=self.encoder)

    @rule()
    def be_killed(self):
        """Go on with a copy of the files as they are, log and all, as after kill -9."""
        copy = shutil.copytree(self.path, self.folder / "copy")
        (copy / "meta.db-shm").unlink(missing_ok=True)
        self.index.close()
        self.reader.close()
        shutil.rmtree(self.path)
        copy.rename(self.path)
        self.index = SearchIndex.open(self.path, encoder=self.encoder)
        self.reader = SearchIndex.open(self.path, encoder=self.encoder)

    @rule(verb=st.sampled_from(["compact", "purge", "checkpoint", "back_up", "restore", "repair"]))
    def look_after(self, verb):
        getattr(self, verb)()
        assert check_index(self.path, encoder=self.encoder).worst is None

    def compact(self):
        compact_index(self.path)

    def purge(self):
        compact_index(self.path, purge=True)

    def checkpoint(self):
        self.index.checkpoint()

    def back_up(self):
        shutil.rmtree(self.folder / "saved", ignore_errors=True)
        report = backup_index(self.path, self.folder / "saved")
        assert report.documents == len(self.model)
        self.saved = dict(self.model)

    def restore(self):
        for saved in [self.saved] * (self.saved is not None):
            restore_index(self.folder / "saved", self.path, replace=True)
            self.model = dict(saved)

    def repair(self):
        report = repair_index(self.path, encoder=self.encoder)
        assert report.complete
        assert report.documents == len(self.model)

    @invariant()
    def both_handles_hold_the_same(self):
        for handle in (self.index, self.reader):
            assert {each.id: each.text for each in handle.iterate()} == self.model
            assert len(handle) == len(self.model)


def examples(count):
    return settings(
        max_examples=count,
        stateful_step_count=50,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


class TestIndexInAFewWays(IndexMachine.TestCase):
    settings = examples(15)


@pytest.mark.slow
class TestIndexInManyWays(IndexMachine.TestCase):
    settings = examples(200)
