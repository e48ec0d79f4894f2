from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from simsearch.errors import (
    AlreadyExists,
    DuplicateId,
    EncoderMismatch,
    IndexLocked,
    InvalidData,
)
from simsearch.records import Document
from simsearch.search_index import (
    SearchIndex,
    build_index,
    check_build,
    refuse_known_ids,
    remove_all_but,
    write_corpus,
)


def documents(count, start=0):
    return [Document(f"d{n}", f"text number {n}") for n in range(start, start + count)]


def build(path, encoder, corpus, *, replace=False):
    with build_index(path, encoder=encoder, replace=replace) as index:
        return write_corpus(index.upsert, corpus, total=len(corpus))


def ids(path, encoder):
    with SearchIndex.open(path, encoder=encoder) as index:
        return {document.id for document in index.iterate()}


def interrupt(path, encoder, corpus, *, replace=False, embeddings=None):
    """Build, and be cut short after the corpus was written but not finished."""
    with (
        pytest.raises(KeyboardInterrupt),
        build_index(path, encoder=encoder, replace=replace) as index,
    ):
        write_corpus(index.upsert, corpus, total=len(corpus), embeddings=embeddings)
        raise KeyboardInterrupt


def test_a_corpus_of_several_batches_is_written_whole(tmp_path, hash_encoder):
    seen = []
    with build_index(tmp_path / "i", encoder=hash_encoder, replace=False) as index:
        corpus = iter(documents(2500))
        report = write_corpus(index.upsert, corpus, total=2500, progress=seen.append)
    assert (report.added, seen) == (2500, [1024, 2048, 2500])
    assert len(ids(tmp_path / "i", hash_encoder)) == 2500


def test_a_batch_of_long_documents_is_closed_before_it_is_full(tmp_path, hash_encoder):
    corpus = [Document(f"d{n}", f"{n} " + "word " * 180_000) for n in range(5)]  # 900,000 each
    seen = []
    with build_index(tmp_path / "i", encoder=hash_encoder, replace=False) as index:
        write_corpus(index.upsert, corpus, total=5, progress=seen.append)
    assert seen == [3, 5]


def test_an_index_that_was_refused_at_its_first_text_is_not_begun(tmp_path, hash_encoder):
    with (
        pytest.raises(InvalidData, match="nothing of this"),
        build_index(tmp_path / "i", encoder=hash_encoder, replace=False),
    ):
        raise InvalidData("nothing of this")
    assert list(tmp_path.iterdir()) == []


def test_an_index_that_was_refused_later_keeps_what_is_committed(tmp_path, hash_encoder):
    with (
        pytest.raises(InvalidData, match="nothing more"),
        build_index(tmp_path / "i", encoder=hash_encoder, replace=False) as index,
    ):
        write_corpus(index.upsert, documents(3), total=3)
        raise InvalidData("nothing more")
    assert ids(tmp_path / "i", hash_encoder) == {"d0", "d1", "d2"}


def test_embeddings_go_with_their_documents_across_batches(tmp_path, hash_encoder):
    rows = np.random.default_rng(0).standard_normal((1500, 256)).astype(np.float32)
    with SearchIndex.create(tmp_path / "i", encoder=hash_encoder) as index:
        write_corpus(index.add, documents(1500), total=1500, embeddings=rows)
        found = index.search_vectors(rows[[0, 1023, 1024, 1499]], k=1)
    assert [hits[0].id for hits in found] == ["d0", "d1023", "d1024", "d1499"]


def test_an_interrupted_run_with_embeddings_writes_no_row_twice(tmp_path, hash_encoder):
    rows = np.random.default_rng(0).standard_normal((1500, 256)).astype(np.float32)
    interrupt(tmp_path / "i", hash_encoder, documents(1100), embeddings=rows[:1100])
    with build_index(tmp_path / "i", encoder=hash_encoder, replace=False) as index:
        report = write_corpus(index.upsert, documents(1500), total=1500, embeddings=rows)
        found = index.search_vectors(rows[[0, 1099, 1100]], k=1)
    assert (report.unchanged, report.added, report.replaced) == (1100, 400, 0)
    assert [hits[0].id for hits in found] == ["d0", "d1099", "d1100"]


@pytest.mark.parametrize("total", [9, 11])
def test_a_corpus_that_changed_since_it_was_counted_is_refused(tmp_path, hash_encoder, total):
    with (
        SearchIndex.create(tmp_path / "i", encoder=hash_encoder) as index,
        pytest.raises(InvalidData, match="changed while it was read"),
    ):
        write_corpus(index.add, documents(10), total=total)


def test_an_interrupted_build_is_taken_up_without_encoding_again(tmp_path, hash_encoder):
    interrupt(tmp_path / "i", hash_encoder, documents(30))
    hash_encoder.encoded.clear()
    report = build(tmp_path / "i", hash_encoder, documents(40))
    assert (report.unchanged, report.added) == (30, 10)
    assert len(hash_encoder.encoded) == 10
    with SearchIndex.open(tmp_path / "i", encoder=hash_encoder) as index:
        assert index.finished


def test_what_an_interrupted_build_left_of_another_corpus_is_removed(tmp_path, hash_encoder):
    interrupt(tmp_path / "i", hash_encoder, documents(30))
    with build_index(tmp_path / "i", encoder=hash_encoder, replace=False) as index:
        write_corpus(index.upsert, documents(10, start=25), total=10)
        assert remove_all_but(index, documents(10, start=25)) == 25
    assert ids(tmp_path / "i", hash_encoder) == {f"d{n}" for n in range(25, 35)}


def test_an_interrupted_build_is_not_taken_up_by_another_encoder(tmp_path, hash_encoder):
    interrupt(tmp_path / "i", hash_encoder, documents(3))
    hash_encoder.fingerprint = "hash-2"
    with pytest.raises(EncoderMismatch):
        build(tmp_path / "i", hash_encoder, documents(3))


def test_a_finished_index_is_refused_before_any_work(tmp_path, hash_encoder):
    build(tmp_path / "i", hash_encoder, documents(3))
    with pytest.raises(AlreadyExists, match=r"add or upsert to extend it, reindex.*--replace"):
        check_build(tmp_path / "i", replace=False)
    check_build(tmp_path / "i", replace=True)


@pytest.mark.parametrize("replace", [False, True])
def test_a_directory_that_is_no_index_is_never_replaced(tmp_path, hash_encoder, replace):
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "main.py").write_text("print()")
    with pytest.raises(AlreadyExists, match="is no index"):
        build(tmp_path / "src", hash_encoder, documents(3), replace=replace)
    assert (tmp_path / "src" / "main.py").read_text() == "print()"


def test_the_old_index_answers_until_its_replacement_is_finished(tmp_path, hash_encoder):
    path = tmp_path / "i"
    build(path, hash_encoder, documents(3))
    with build_index(path, encoder=hash_encoder, replace=True) as index:
        write_corpus(index.upsert, documents(5, start=10), total=5)
        assert ids(path, hash_encoder) == {"d0", "d1", "d2"}
    assert ids(path, hash_encoder) == {f"d{n}" for n in range(10, 15)}
    assert [entry.name for entry in tmp_path.iterdir()] == ["i"]


def test_an_interrupted_replacement_leaves_the_old_index_and_is_taken_up(tmp_path, hash_encoder):
    path = tmp_path / "i"
    build(path, hash_encoder, documents(3))
    interrupt(path, hash_encoder, documents(5, start=10), replace=True)
    assert ids(path, hash_encoder) == {"d0", "d1", "d2"}
    report = build(path, hash_encoder, documents(5, start=10), replace=True)
    assert report.unchanged == 5
    assert ids(path, hash_encoder) == {f"d{n}" for n in range(10, 15)}


def test_so_is_one_that_was_finished_and_could_not_be_installed(tmp_path, hash_encoder):
    path = tmp_path / "i"
    build(path, hash_encoder, documents(3))
    corpus = documents(5, start=10)
    # Somebody writes to the old index just when its place is to be taken.
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setattr("simsearch.search_index.bulk.install_index", refuse)
    with pytest.raises(IndexLocked), monkeypatch.context():
        build(path, hash_encoder, corpus, replace=True)
    monkeypatch.undo()
    assert ids(path, hash_encoder) == {"d0", "d1", "d2"}
    hash_encoder.encoded.clear()
    report = build(path, hash_encoder, corpus, replace=True)
    assert (report.unchanged, report.encoded, hash_encoder.encoded) == (5, 0, [])
    assert ids(path, hash_encoder) == {each.id for each in corpus}
    assert not (tmp_path / ".i.new").exists()


def refuse(*_, **__):
    raise IndexLocked("somebody is writing")


def test_a_second_build_of_the_same_index_is_told_who_builds(tmp_path, hash_encoder):
    with build_index(tmp_path / "i", encoder=hash_encoder, replace=False) as index:
        write_corpus(index.upsert, documents(3), total=3)
        with pytest.raises(IndexLocked, match=r"locked by pid \d+"):
            build(tmp_path / "i", hash_encoder, documents(9, start=50))
        write_corpus(index.upsert, documents(3, start=3), total=3)
    assert ids(tmp_path / "i", hash_encoder) == {f"d{n}" for n in range(6)}


def test_a_replacement_with_other_settings_waits_for_the_one_that_is_being_built(
    tmp_path, hash_encoder
):
    build(tmp_path / "i", hash_encoder, documents(3))
    with build_index(tmp_path / "i", encoder=hash_encoder, replace=True) as first:
        first.add(documents(5))
        with (
            pytest.raises(IndexLocked, match=r"locked by pid \d+"),
            build_index(tmp_path / "i", encoder=hash_encoder, replace=True, dim=16),
        ):
            pass
        first.add(documents(2, start=5))
    assert ids(tmp_path / "i", hash_encoder) == {f"d{n}" for n in range(7)}


@pytest.mark.parametrize(
    ("name", "content"), [("meta.db", "damaged"), ("FORMAT", "simsearch-index 99 simsearch/9.9\n")]
)
def test_replace_replaces_an_index_that_cannot_be_opened(tmp_path, hash_encoder, name, content):
    path = tmp_path / "i"
    build(path, hash_encoder, documents(3))
    (path / name).write_text(content)
    build(path, hash_encoder, documents(2), replace=True)
    assert ids(path, hash_encoder) == {"d0", "d1"}


def test_a_replacement_begun_with_another_encoder_is_begun_anew(tmp_path, hash_encoder):
    path = tmp_path / "i"
    build(path, hash_encoder, documents(3))
    interrupt(path, hash_encoder, documents(5, start=10), replace=True)
    hash_encoder.fingerprint = "hash-2"
    assert build(path, hash_encoder, documents(2), replace=True).added == 2


def test_a_link_to_an_index_stays_a_link(tmp_path, hash_encoder):
    build(tmp_path / "real", hash_encoder, documents(3))
    (tmp_path / "link").symlink_to(tmp_path / "real")
    build(tmp_path / "link", hash_encoder, documents(2), replace=True)
    assert (tmp_path / "link").is_symlink()
    assert ids(tmp_path / "real", hash_encoder) == {"d0", "d1"}
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["link", "real"]


def test_known_ids_are_refused_before_any_write(tmp_path, hash_encoder):
    build(tmp_path / "i", hash_encoder, documents(3))
    with SearchIndex.open(tmp_path / "i", encoder=hash_encoder) as index:
        with pytest.raises(DuplicateId, match="'d2' is in the index already"):
            refuse_known_ids(index, documents(2000, start=2))
        refuse_known_ids(index, documents(2000, start=3))
        assert len(index) == 3


def test_memory_does_not_grow_with_the_number_of_documents(tmp_path, hash_encoder):
    hash_encoder.dim = 32
    peaks = []
    for count in (1_024, 2_048, 8_192):  # the first for what is imported and made only once
        corpus = (Document(f"d{n}", f"text number {n} " + "card " * 20) for n in range(count))
        tracemalloc.start()
        with build_index(tmp_path / f"i{count}", encoder=hash_encoder, replace=False) as index:
            write_corpus(index.upsert, forgetting(hash_encoder, corpus), total=count)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # 6,144 documents more are 0.8 MB of text, and 0.8 MB of vectors.
    assert abs(peaks[2] - peaks[1]) < 400_000


def forgetting(encoder, corpus):
    """Yield documents, and let the encoder forget what it was asked for."""
    for document in corpus:
        encoder.encoded.clear()
        yield document
