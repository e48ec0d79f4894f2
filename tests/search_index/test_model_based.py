"""Whatever is done in whatever order, an index answers as a dict and numpy would."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from conftest import HashEncoder, OtherHashEncoder
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from simsearch.ann import Target
from simsearch.records import Document
from simsearch.search_index import (
    SearchIndex,
    backup_index,
    build_generation,
    check_index,
    compact_index,
    repair_index,
    restore_index,
    roll_back,
)
from simsearch.storage import Severity

MEMORY = next((each for each in ("/dev/shm",) if os.access(each, os.W_OK)), None)
WORDS = ["card", "bank", "cat", "dog", "mat", "money", "screen", "phone"]
IDS = st.sampled_from([f"id-{n}" for n in range(12)])
TEXTS = st.lists(st.sampled_from(WORDS), min_size=1, max_size=5).map(" ".join)
BATCHES = st.dictionaries(IDS, TEXTS, min_size=1, max_size=6)


def document(name, text, label=0):
    return Document(name, text, metadata={"name": name, "label": label})


class IndexMachine(RuleBasedStateMachine):
    """An index beside a dict of its texts."""

    @initialize()
    def create(self):
        # In memory where there is such a place: what is tested is no disk, and syncs take long.
        self.folder = Path(tempfile.mkdtemp(dir=MEMORY))
        self.path = self.folder / "i"
        self.encoder = HashEncoder()
        self.encoder.dim = 32
        self.other = OtherHashEncoder()
        self.model: dict[str, str] = {}
        self.labels: dict[str, int] = {}
        # Five rows are worth an index, and one that misses nothing compares all of them.
        target = Target(recall=1.0, exact_below=4)
        self.index = SearchIndex.create(self.path, encoder=self.encoder, target=target)
        self.reader = SearchIndex.open(self.path, encoder=self.encoder)
        self.saved: tuple[dict[str, str], dict[str, int], HashEncoder] | None = None

    def teardown(self):
        self.index.close()
        self.reader.close()
        shutil.rmtree(self.folder)

    @rule(batch=BATCHES)
    def add(self, batch):
        new = {name: text for name, text in batch.items() if name not in self.model}
        report = self.index.add([document(*each) for each in new.items()])
        assert report.added == len(new)
        self.model |= new

    @rule(batch=BATCHES)
    def upsert(self, batch):
        self.write(batch)

    def write(self, batch):
        report = self.index.upsert([document(*each) for each in batch.items()])
        same = [name for name, text in batch.items() if self.model.get(name) == text]
        assert report.unchanged == len([name for name in same if name not in self.labels])
        self.model |= batch
        self.labels = {name: label for name, label in self.labels.items() if name not in batch}

    @rule(ids=st.lists(IDS, unique=True), label=st.integers(1, 3))
    def label(self, ids, label):
        """Change metadata alone: no row dies."""
        changed = [name for name in ids if name in self.model and self.labels.get(name) != label]
        before = self.index.info().dead_rows
        report = self.index.upsert([document(name, self.model[name], label) for name in changed])
        assert (report.replaced, report.encoded) == (len(changed), 0)
        assert self.index.info().dead_rows == before
        self.labels |= dict.fromkeys(changed, label)

    @rule(ids=st.lists(IDS, unique=True))
    def delete(self, ids):
        assert self.index.delete(ids) == len(self.model.keys() & set(ids))
        self.model = {name: text for name, text in self.model.items() if name not in ids}
        self.labels = {name: label for name, label in self.labels.items() if name not in ids}

    @rule(anew=st.booleans())
    def build_segments(self, anew):
        self.index.optimize(anew=anew)

    @rule()
    def lose_segments(self):
        """Go on without the files of segments, and then build them again."""
        for path in (self.path / "segments").glob("*.faiss"):
            path.unlink()
        self.reader.close()
        self.reader = SearchIndex.open(self.path, encoder=self.encoder)
        for word in WORDS:
            self.look_for(self.reader, word, 5, list(self.model))
        self.index.optimize()

    @rule(
        query=TEXTS,
        k=st.integers(1, 15),
        by_reader=st.booleans(),
        prefix=st.sampled_from([None, "id-1", "id-"]),
    )
    def search(self, query, k, by_reader, prefix):
        handle = self.reader if by_reader else self.index
        names = [name for name in self.model if prefix is None or name.startswith(prefix)]
        # A field that no document has is refused, as in an index whose documents are all deleted.
        where = None if prefix is None or not self.model else f"name like '{prefix}%'"
        self.look_for(handle, query, k, names, where=where)

    def look_for(self, handle, query, k, names, *, where=None):
        hits = handle.search(query, k=k, where=where)
        assert len(hits) == min(k, len(names))
        texts = [self.model[name] for name in names]
        vectors = self.encoder.encode_documents([*texts, query])
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

    @rule(batch=BATCHES, switch=st.booleans())
    def reindex(self, batch, switch):
        """Build a generation by another encoder, write meanwhile, and let it answer, or not yet."""
        with build_generation(self.path, encoder=self.other, switch=switch):
            self.write(batch)
        for _ in range(switch):
            self.change_encoders()

    @precondition(lambda self: self.index.info().previous is not None)
    @rule()
    def roll_back(self):
        roll_back(self.path, encoder=self.other)
        self.change_encoders()

    def change_encoders(self):
        self.index.close()
        self.reader.close()
        self.encoder, self.other = self.other, self.encoder
        self.index = SearchIndex.open(self.path, encoder=self.encoder)
        self.reader = SearchIndex.open(self.path, encoder=self.encoder)

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
        found = check_index(self.path, encoder=self.encoder).worst
        assert found in (None, Severity.NOTE)  # of a generation that does not answer yet

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
        self.saved = dict(self.model), dict(self.labels), self.encoder

    def restore(self):
        fits = self.saved is not None and self.saved[2] is self.encoder
        for saved in [self.saved] * fits:
            restore_index(self.folder / "saved", self.path, replace=True)
            self.model, self.labels = dict(saved[0]), dict(saved[1])

    def repair(self):
        report = repair_index(self.path, encoder=self.encoder)
        assert report.complete
        assert report.documents == len(self.model)

    @invariant()
    def both_handles_hold_the_same(self):
        for handle in (self.index, self.reader):
            held = {each.id: each for each in handle.iterate()}
            assert {name: each.text for name, each in held.items()} == self.model
            labels = {name: each.metadata["label"] for name, each in held.items()}
            assert labels == dict.fromkeys(self.model, 0) | self.labels
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
