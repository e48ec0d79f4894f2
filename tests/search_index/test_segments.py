"""An index whose rows lie in segments: the same answers, at every state of growth and damage."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil

import numpy as np
import pytest
from ann.conftest import clustered
from conftest import HashEncoder
from stores import fault, raw

from simsearch.ann import Target, plan_index
from simsearch.errors import CorruptIndex, IndexLocked, InvalidInput, SystemFailure
from simsearch.records import Document
from simsearch.search_index import (
    SearchIndex,
    backup_index,
    check_index,
    compact_index,
    over_memory,
    repair_index,
    restore_index,
    tune_index,
)

DIM = 32
TARGET = Target(recall=0.9, exact_below=1_000)
QUERIES = clustered(100, DIM, seed=1)


class Corpus:
    """An index beside a dict of its vectors."""

    def __init__(self, path, target):
        self.path = path
        self.encoder = HashEncoder()
        self.encoder.dim = DIM
        self.vectors: dict[str, np.ndarray] = {}
        self.index = SearchIndex.create(path, encoder=self.encoder, target=target)

    def reopen(self):
        self.index.close()
        self.index = SearchIndex.open(self.path, encoder=self.encoder)

    def write(self, names, vectors):
        """Add or replace documents; every third is green, the others red."""
        documents = [Document(name, "text", metadata={"colour": colour(name)}) for name in names]
        self.index.upsert(documents, vectors)
        self.vectors |= dict(zip(names, vectors, strict=True))

    def delete(self, names):
        self.index.delete(names)
        for name in names:
            del self.vectors[name]

    def recall(self, k=10, where=None, exact=False):
        """Return the recall; every list must be of what is there, in order, with true scores."""
        names = [name for name in self.vectors if where is None or colour(name) == where]
        vectors = np.stack([self.vectors[name] for name in names])
        similarities = QUERIES.astype(np.float64) @ vectors.T
        best = -np.sort(-similarities, axis=1)[:, :k]
        filter_ = None if where is None else f"colour = '{where}'"
        lists = self.index.search_vectors(QUERIES, k, where=filter_, exact=exact)
        place = {name: number for number, name in enumerate(names)}
        near = 0
        for hits, its, least in zip(lists, similarities, best[:, -1], strict=True):
            assert len({hit.id for hit in hits}) == len(hits) == min(k, len(names))
            scores = np.array([hit.score for hit in hits])
            assert (np.diff(scores) <= 0).all()
            np.testing.assert_allclose(scores, its[[place[hit.id] for hit in hits]], atol=1e-5)
            near += int((scores >= least - 1e-6).sum())
        return near / best.size

    def kinds(self):
        return [segment.index for segment in self.index.info().search.segments]


def colour(name):
    return "green" if int(name) % 3 == 0 else "red"


def names_of(start, stop):
    return [str(number) for number in range(start, stop)]


@pytest.fixture(scope="module")
def rows():
    return clustered(5_000, DIM)


@pytest.fixture
def corpus(tmp_path, rows):
    """Return 1,500 documents, without a segment."""
    made = Corpus(tmp_path / "i", TARGET)
    made.write(names_of(0, 1_500), rows[:1_500])
    yield made
    made.index.close()


@pytest.fixture
def built(corpus):
    corpus.index.optimize()
    assert corpus.kinds() != ["Flat"]
    return corpus


def test_rows_in_any_state_are_found_with_the_promised_recall(corpus, rows):
    rng = np.random.default_rng(0)
    recalls = []

    def look():
        recalls.extend([corpus.recall(), corpus.recall(where="green"), corpus.recall(k=40)])
        assert corpus.recall(exact=True) == corpus.recall(where="red", exact=True) == 1

    look()
    assert recalls == [1, 1, 1]
    corpus.index.optimize()
    look()
    corpus.write(names_of(1_500, 1_700), rows[1_500:1_700])  # in no segment
    look()
    corpus.delete(rng.permutation(list(corpus.vectors))[:150].tolist())
    look()
    again = rng.permutation(list(corpus.vectors))[:150].tolist()
    corpus.write(again, rows[4_000:4_150])
    look()
    corpus.index.optimize()  # a flat segment beside the indexed one
    assert corpus.kinds()[1:] == ["Flat"]
    corpus.reopen()
    look()
    corpus.write(names_of(1_700, 2_700), rows[1_700:2_700])
    corpus.index.optimize()  # all of them merged
    assert len(corpus.kinds()) == 1
    look()
    compact_index(corpus.path)
    look()
    assert np.mean(recalls) >= 0.93
    assert min(recalls) >= 0.88  # of a target of 0.9, on 1,000 neighbours


def test_deleted_rows_never_make_a_list_shorter(built):
    survivors = [name for name in built.vectors if int(name) % 50 == 0]
    built.delete([name for name in built.vectors if int(name) % 50])
    assert len(built.vectors) == len(survivors) == 30
    assert built.recall(k=10) == built.recall(k=100) == 1


def test_a_segment_is_used_by_handles_that_are_open_from_its_commit_on(built):
    with SearchIndex.open(built.path, encoder=built.encoder) as other:
        hits = other.search_vectors(QUERIES, 10)
        built.index.optimize(anew=True)
        assert other.search_vectors(QUERIES, 10, exact=True)[0][0] == hits[0][0]
        assert other.info().search == built.index.info().search


@pytest.mark.parametrize("damage", ["unlink", "cut", "flip", "swap", "directory"])
def test_a_damaged_segment_is_passed_over_with_a_warning_and_repaired(
    built, damage, caplog, monkeypatch
):
    # A hashing encoder has no files, which repair would miss.
    monkeypatch.setattr("simsearch.search_index.repair.load_own_encoder", lambda *_: None)
    (path,) = (built.path / "segments").glob("*.faiss")
    content = bytearray(path.read_bytes())
    path.unlink()
    if damage == "flip":
        content[len(content) // 2] ^= 1
    {
        "unlink": lambda: None,
        "cut": lambda: path.write_bytes(content[:-100]),
        "flip": lambda: path.write_bytes(content),
        "swap": lambda: path.symlink_to("/etc/passwd"),
        "directory": lambda: (path / "in it").mkdir(parents=True),
    }[damage]()
    built.reopen()
    assert built.recall() == built.recall(where="green") == 1
    assert "its rows are compared one by one" in caplog.text
    assert built.index.info().search.compared_rows == 1_500
    assert [each.code for each in check_index(built.path, quick=True).findings] == (
        [] if damage == "flip" else ["segment"]
    )
    report = repair_index(built.path, encoder=built.encoder)
    assert (report.segments, report.quarantine, report.complete) == (1, None, True)
    assert built.recall() >= 0.88
    assert built.index.info().search.compared_rows == 0


def test_bits_that_rot_under_the_same_times_are_found_by_check_and_repaired(built):
    (path,) = (built.path / "segments").glob("*.faiss")
    times = path.stat()
    with path.open("r+b") as file:
        file.seek(5_000)
        file.write(b"rotten")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert "segment" in [each.code for each in check_index(built.path).findings]
    assert repair_index(built.path, encoder=built.encoder).segments == 1
    assert "segment" not in [each.code for each in check_index(built.path).findings]


def test_a_segment_that_the_disk_does_not_read_is_a_finding_like_others(built, monkeypatch):
    def unreadable(path):
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))

    before = [each.code for each in check_index(built.path).findings]
    monkeypatch.setattr("simsearch.storage.inspection.hash_file", unreadable)
    assert [each.code for each in check_index(built.path).findings] == ["segment", *before]
    assert check_index(built.path, quick=True).findings == ()


def test_a_list_of_segments_that_cannot_be_read_is_found_and_repaired(tmp_path, hash_encoder):
    path, target = tmp_path / "i", Target(recall=1.0, exact_below=2)
    with SearchIndex.create(path, encoder=hash_encoder, target=target) as index:
        index.add([Document(f"d{n}", f"text number {n}") for n in range(30)])
        index.optimize()
    with raw(path) as connection:
        (root,) = connection.execute(
            "SELECT rootpage FROM sqlite_schema WHERE name = 'segments'"
        ).fetchone()
        (page,) = connection.execute("PRAGMA page_size").fetchone()
    with (path / "meta.db").open("r+b") as file:
        file.seek((root - 1) * page)
        file.write(b"\xff" * page)
    with pytest.raises(CorruptIndex, match="malformed"):
        SearchIndex.open(path, encoder=hash_encoder).search("text number 7")
    for quick in (True, False):
        found = check_index(path, quick=quick, encoder=hash_encoder).findings
        assert {"sqlite", "segments"} <= {each.code for each in found}
        assert "unlisted" not in {each.code for each in found}
    report = repair_index(path, encoder=hash_encoder)
    assert (report.documents, report.segments, report.complete) == (30, 1, True)
    assert check_index(path, encoder=hash_encoder).findings == ()
    with SearchIndex.open(path, encoder=hash_encoder) as index:
        assert index.search("text number 7", k=1)[0].id == "d7"
        assert index.info().search.segments[0].fault is None


def test_a_backup_has_the_segments_and_a_restored_index_uses_them(built, tmp_path):
    backup_index(built.path, tmp_path / "saved")
    restore_index(tmp_path / "saved", tmp_path / "again")
    with SearchIndex.open(tmp_path / "again", encoder=built.encoder) as again:
        assert again.info().search == built.index.info().search
        assert again.search_vectors(QUERIES) == built.index.search_vectors(QUERIES)


def test_no_byte_of_a_deleted_vector_stays_in_a_segment_that_was_purged(built):
    gone = built.vectors["7"].tobytes()
    built.delete(["7"])
    compact_index(built.path, purge=True)
    files = [each.read_bytes() for each in built.path.rglob("*") if each.is_file()]
    assert not any(gone in content for content in files)
    assert len(built.kinds()) == 1


def test_only_one_process_builds(built):
    with built.index._store.segments.building(), pytest.raises(IndexLocked):
        built.index.optimize(anew=True)


def test_a_full_disk_while_building_leaves_what_was_there(built):
    before = built.index.info().search
    with fault("segment.sync:enospc"), pytest.raises((SystemFailure, OSError)):
        built.index.optimize(anew=True)
    assert built.index.info().search == before
    assert len(list((built.path / "segments").glob("*"))) == 2  # the segment, and LOCK


def test_an_index_that_is_compacted_while_it_is_built_is_built_again(built, monkeypatch):
    built.delete(["1", "2"])
    real, compacted = plan_index, []

    def plan(*arguments, **options):
        if not compacted:
            compacted.append(compact_index(built.path))
        return real(*arguments, **options)

    monkeypatch.setattr("simsearch.search_index.building.plan_index", plan)
    built.index.optimize(anew=True)
    assert built.recall() >= 0.88
    assert [each.dead_rows for each in built.index.info().search.segments] == [0]


def test_what_info_says_is_what_was_measured(built):
    search = built.index.info().search
    (segment,) = search.segments
    assert (segment.rows, segment.dead_rows, segment.fault) == (1_500, 0, None)
    assert (search.compared_rows, search.rows_in_memory) == (0, 0)
    plan = segment.plan
    assert plan["chosen"]["factory"] == segment.index
    assert plan["chosen"]["recall"]["value"] == search.recall >= 0.9
    assert search.recall_low <= search.recall <= search.recall_high
    assert plan["queries"] == "documents"
    assert all(point["recall"]["low"] <= 1 for point in plan["chosen"]["curve"])
    assert plan["chosen"]["name"] in {each["name"] for each in plan["considered"]}
    built.write(names_of(1_500, 1_600), clustered(100, DIM, seed=5))
    assert built.index.info().search.rows_in_memory == 100


@pytest.mark.parametrize(
    ("limits", "over"),
    [({"max_memory": 1_000}, " bytes, the target is 1,000"), ({"max_latency": 1e-9}, "")],
)
def test_an_index_that_cannot_be_as_was_asked_is_the_smallest_that_finds_enough_and_says_so(
    tmp_path, rows, limits, over
):
    corpus = Corpus(tmp_path / "i", Target(recall=0.95, exact_below=1_000, **limits))
    corpus.write(names_of(0, 1_500), rows[:1_500])
    (report,) = corpus.index.optimize()
    assert report.index == "PCAR16,PQ4x4fs_64"
    assert "no index reaches recall 0.95 within the limits" in report.shortcoming
    assert corpus.index.optimize() == []  # it is not tried again and again
    assert corpus.recall() >= 0.95
    assert (over_memory(corpus.index) or "").endswith(over)
    corpus.index.close()


def test_queries_that_chose_an_index_are_missed_by_the_next_one(built, rows, caplog):
    built.index.optimize(query_vectors=rows[:100], anew=True)
    assert caplog.text == ""
    built.index.optimize(anew=True)
    assert "is chosen by documents now" in caplog.text
    assert "simsearch tune INDEX_DIR --queries FILE" in caplog.text


def test_an_index_that_queries_chose_is_whole_and_stays_so_when_it_is_written_anew(
    built, rows, caplog
):
    built.index.optimize(query_vectors=rows[:100], anew=True)
    built.reopen()
    assert built.recall() >= 0.9
    assert check_index(built.path, encoder=built.encoder).findings == ()
    built.delete(names_of(0, 10))
    built.index.close()
    compact_index(built.path)
    assert "is chosen by documents now" in caplog.text
    caplog.clear()
    next((built.path / "segments").glob("*.faiss")).unlink()
    assert repair_index(built.path, encoder=built.encoder).segments == 1
    assert "is chosen by documents now" in caplog.text
    built.reopen()
    assert built.recall() >= 0.9


def test_a_damaged_description_costs_speed_and_no_answer(built, caplog):
    built.index.close()
    with raw(built.path) as connection:
        connection.execute(
            "UPDATE segments SET description = replace(description, '\"rows\": 1', '\"rows\": 2')"
        )
    built.reopen()
    assert built.recall() == 1
    assert "the description of a segment is damaged: its checksum is wrong" in caplog.text


class TestTune:
    def test_a_promise_that_is_kept_is_said_to_be_kept(self, built):
        report = tune_index(built.index)
        assert report.kept
        assert (report.broken, report.built, report.shortfall) == ((), (), ())
        assert (report.queries, report.k) == ("documents", 9)  # all but themselves
        assert report.recall.value >= 0.9

    def test_drift_breaks_the_promise_which_is_said_and_mended(self, built, rows, monkeypatch):
        sabotage(built)
        built.reopen()
        seen = tune_index(built.index, dry_run=True)
        assert not seen.kept
        assert seen.broken[0].startswith("recall@9 is 0.")
        assert seen.built == ()
        report = tune_index(built.index)
        assert report.kept
        assert report.broken == seen.broken
        assert report.recall.value >= 0.9 > report.before.value
        assert [each.merged for each in report.built] == [1]

    def test_another_target_is_kept_for_what_is_built_later(self, built):
        target = Target(recall=1.0, exact_below=1_000)
        report = tune_index(built.index, target=target)
        assert report.kept
        assert built.index.target == target
        assert built.recall() == 1

    def test_too_few_queries_are_refused(self, built):
        with pytest.raises(InvalidInput, match="19 queries cannot tune an index"):
            tune_index(built.index, queries=["text"] * 19)

    def test_an_empty_index_is_what_it_has_to_be(self, tmp_path):
        corpus = Corpus(tmp_path / "i", TARGET)
        assert tune_index(corpus.index, anew=True).kept
        corpus.index.close()


def sabotage(corpus):
    """Replace the vectors of the index by others, of which its codes know nothing."""
    (path,) = (corpus.path / "segments").glob("*.faiss")
    content = bytearray(path.read_bytes())
    begin = -(-8 * 1_500 // 64) * 64  # behind the numbers of the rows, aligned to 64 bytes
    end = begin + 4 * DIM * 1_500
    vectors = np.frombuffer(bytes(content[begin:end]), np.float32).reshape(1_500, DIM)
    content[begin:end] = vectors[::-1].tobytes()
    shutil.copy(path, path.with_suffix(".old"))
    path.unlink()
    path.write_bytes(content)
    with raw(corpus.path) as connection:
        sha256 = hashlib.sha256(content).hexdigest()
        connection.execute("UPDATE segments SET sha256 = ?", (sha256,))


def test_an_index_of_one_document_or_of_none_left_is_built_and_sound(tmp_path):
    with SearchIndex.create(tmp_path / "i", encoder=HashEncoder()) as index:
        index.add([Document("one", "my card")])
        (built,) = index.optimize(anew=True)
        assert (built.rows, built.index) == (1, "Flat")
        assert [hit.id for hit in index.search("card")] == ["one"]
        index.delete(["one"])
    assert check_index(tmp_path / "i", encoder=HashEncoder()).worst is None
