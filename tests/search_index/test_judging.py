"""Judgements of hits: kept with the index, whatever becomes of it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from conftest import HashEncoder, OtherHashEncoder
from stores import raw

import simsearch
from simsearch.errors import CorruptIndex, InvalidInput, NotFound
from simsearch.records import Document, Judgement
from simsearch.search_index import (
    JudgementState,
    SearchIndex,
    backup_index,
    build_generation,
    build_index,
    check_index,
    compact_index,
    repair_index,
    restore_index,
    roll_back,
    upgrade_index,
    write_corpus,
)

CARD = Judgement("card swallowed", "card", True)
CAT = Judgement("card swallowed", "cat", False)
LATE = Judgement("late parcel", "parcel", True)
DOCUMENTS = [
    Document("card", "my card was swallowed by the machine"),
    Document("cat", "the cat sat on the mat"),
    Document("parcel", "the parcel came late", title="lost order"),
]


@pytest.fixture
def path(tmp_path):
    """Return an index with three judgements."""
    with SearchIndex.create(tmp_path / "i", encoder=HashEncoder()) as index:
        index.add(DOCUMENTS)
        index.judge_many([CARD, CAT, LATE])
    return tmp_path / "i"


def opened(path, encoder=None):
    return SearchIndex.open(path, encoder=encoder or HashEncoder())


def judgements(path, encoder=None):
    with opened(path, encoder) as index:
        return index.judgements()


def states(path):
    with opened(path) as index:
        return {each.judgement.document_id: each.state for each in index.judged_documents()}


def codes(report):
    return [each.code for each in report.findings]


def test_judgements_are_read_in_the_order_in_which_they_were_made(path):
    assert judgements(path) == [CARD, CAT, LATE]
    assert simsearch.Judgement("a", "b", True) == Judgement("a", "b", True)


def test_a_later_judgement_of_the_same_query_and_document_replaces_the_earlier(path):
    with opened(path) as index:
        index.judge("card swallowed", "card", relevant=False)
        index.judge("Card swallowed", "cat")  # another query
    changed = Judgement("card swallowed", "card", False)
    assert judgements(path) == [CAT, LATE, changed, Judgement("Card swallowed", "cat", True)]


def test_of_two_judgements_in_one_call_the_later_is_kept(path):
    with opened(path) as index:
        assert index.judge_many([LATE, Judgement("late parcel", "parcel", False)]) == 2
    assert judgements(path) == [CARD, CAT, Judgement("late parcel", "parcel", False)]


def test_judgements_are_taken_back(path):
    with opened(path) as index:
        pairs = [("card swallowed", "cat"), ("late parcel", "parcel"), ("late parcel", "card")]
        assert index.remove_judgements(pairs) == 2
    assert judgements(path) == [CARD]


@pytest.mark.parametrize(
    ("judgement", "error", "message"),
    [
        (Judgement("", "card", True), InvalidInput, "query is empty"),
        (Judgement("a\0b", "card", True), InvalidInput, r"U\+0000"),
        (Judgement("card", "dog", True), NotFound, "no document 'dog' in the index to be judged"),
        (Judgement("card", "\ud800", True), NotFound, "no document"),
        (Judgement("card", "card", 1), InvalidInput, "relevant must be True or False, got 1"),
    ],
)
def test_what_cannot_be_judged_is_refused_and_nothing_of_the_call_is_kept(
    path, judgement, error, message
):
    with opened(path) as index, pytest.raises(error, match=message):
        index.judge_many([Judgement("new", "card", True), judgement])
    assert judgements(path) == [CARD, CAT, LATE]


def test_a_judgement_is_one_commit_and_none_is_no_commit(path):
    with opened(path) as index:
        before = index.info().commit_number
        index.judge_many([CARD, LATE])
        assert index.judge_many([]) == 0
        assert index.info().commit_number == before + 1


def test_judging_leaves_searches_as_they_are(path):
    with opened(path) as index:
        before = index.search("card swallowed")
        index.judge("card swallowed", "cat")
        assert index.search("card swallowed") == before


def test_judgements_of_documents_that_were_deleted_or_changed_are_known(path):
    with opened(path) as index:
        index.upsert(
            [
                Document("cat", "the cat sat on the mat", metadata={"new": True}),
                Document("parcel", "the parcel came late", title="lost parcel"),
            ]
        )
        index.delete(["card"])
    assert states(path) == {
        "card": JudgementState.DELETED,
        "cat": JudgementState.CURRENT,
        "parcel": JudgementState.CHANGED,
    }
    with opened(path) as index:
        index.add([DOCUMENTS[0]])
        found = {each.judgement.document_id: each.document for each in index.judged_documents()}
    assert states(path)["card"] is JudgementState.CURRENT
    assert found["card"] == DOCUMENTS[0]


def test_judgements_hold_in_the_next_generation_and_go_back_with_what_was_said_since(path):
    other = OtherHashEncoder()
    with build_generation(path, encoder=other), opened(path) as index:
        index.remove_judgements([("late parcel", "parcel")])
    assert judgements(path, other) == [CARD, CAT]
    with opened(path, other) as index:
        index.judge("late parcel", "parcel", relevant=False)
    roll_back(path, encoder=HashEncoder())
    assert judgements(path) == [CARD, CAT, Judgement("late parcel", "parcel", False)]
    assert set(states(path).values()) == {JudgementState.CURRENT}


def test_an_index_that_replaces_another_has_its_judgements(path):
    with build_index(path, encoder=OtherHashEncoder(), replace=True) as index:
        write_corpus(index.upsert, DOCUMENTS[:2], total=2)
        with opened(path) as old:
            old.judge("late", "parcel")
    other = OtherHashEncoder()
    assert judgements(path, other) == [CARD, CAT, LATE, Judgement("late", "parcel", True)]
    assert check_index(path, encoder=other).findings == ()


def test_a_damaged_index_is_replaced_without_its_judgements(path, caplog):
    with raw(path) as connection:
        connection.execute("UPDATE judgements SET relevant = 1")
    with build_index(path, encoder=HashEncoder(), replace=True) as index:
        write_corpus(index.upsert, DOCUMENTS, total=3)
    assert judgements(path) == []
    assert "no judgement of the index that is being replaced is kept" in caplog.text


def test_a_backup_holds_the_judgements(path, tmp_path):
    backup_index(path, tmp_path / "saved")
    with opened(path) as index:
        index.remove_judgements([("late parcel", "parcel")])
    restore_index(tmp_path / "saved", path, replace=True)
    assert judgements(path) == [CARD, CAT, LATE]


def test_a_compaction_keeps_them_all_and_a_purge_those_whose_text_is_still_there(path):
    with opened(path) as index:
        index.delete(["card"])
        index.upsert([Document("parcel", "the parcel never came")])
    compact_index(path)
    assert judgements(path) == [CARD, CAT, LATE]
    compact_index(path, purge=True)
    assert judgements(path) == [CAT]
    assert check_index(path, encoder=HashEncoder()).findings == ()


def test_after_a_purge_no_byte_of_a_forgotten_query_is_on_the_disk(path):
    def holds(what):
        return [
            file.name for file in path.rglob("*") if file.is_file() and what in file.read_bytes()
        ]

    with opened(path) as index:
        index.add([Document("gone", "to be deleted")])
        index.judge("zanzibar affair", "gone")
        index.judge("timbuktu affair", "cat")
        index.judge("kept affair", "cat")
        index.delete(["gone"])
        index.remove_judgements([("timbuktu affair", "cat")])
    assert holds(b"zanzibar")
    compact_index(path, purge=True)
    assert holds(b"zanzibar") == holds(b"timbuktu") == []
    assert holds(b"kept affair") == ["meta.db"]


DAMAGES = [
    "UPDATE judgements SET relevant = 1 WHERE document = 'cat'",
    "UPDATE judgements SET document = 'parcel' WHERE document = 'cat'",
    "UPDATE judgements SET number = 9 WHERE document = 'cat'",
    "UPDATE judgements SET text_hash = x'00' WHERE document = 'cat'",
    "DELETE FROM judgements WHERE document = 'cat'",
]


@pytest.mark.parametrize("statement", DAMAGES)
def test_a_damaged_or_lost_judgement_is_found_and_repair_keeps_the_others(
    path, tmp_path, statement
):
    with raw(path) as connection:
        connection.execute(statement)
    with opened(path) as index, pytest.raises(CorruptIndex, match=r"3 judgements were made, and 2"):
        index.judgements()
    assert codes(check_index(path, encoder=HashEncoder())) == ["judgements"]
    with pytest.raises(CorruptIndex, match="judgements"):
        backup_index(path, tmp_path / "saved")
    with pytest.raises(CorruptIndex, match="judgements"):
        compact_index(path, purge=True)
    report = repair_index(path, encoder=HashEncoder())
    assert (report.complete, report.documents, report.encoded) == (False, 3, 0)
    assert judgements(path) == [CARD, LATE]
    assert check_index(path, encoder=HashEncoder()).findings == ()


def test_searches_go_on_where_a_judgement_is_damaged(path):
    with raw(path) as connection:
        connection.execute("UPDATE judgements SET relevant = 1")
    with opened(path) as index:
        assert index.search("card swallowed", k=1)[0].id == "card"


def test_judgements_around_a_page_that_cannot_be_read_are_saved(path):
    with opened(path) as index:
        index.judge_many(Judgement(f"query {n} " + "long " * 100, "cat", True) for n in range(300))
    with raw(path) as connection:
        (page_size,) = connection.execute("PRAGMA page_size").fetchone()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        content = (path / "meta.db").read_bytes()
    page = content.rindex(b"query 150 long") // page_size * page_size
    (path / "meta.db").write_bytes(
        content[:page] + b"\xff" * page_size + content[page + page_size :]
    )
    assert "judgements" in codes(check_index(path, encoder=HashEncoder()))
    repair_index(path, encoder=HashEncoder())
    kept = {each.query.split()[1] for each in judgements(path)} - {"swallowed", "parcel"}
    assert 280 <= len(kept) < 300
    assert {"0", "299"} <= kept
    assert check_index(path, encoder=HashEncoder()).findings == ()


def test_an_index_of_the_format_before_can_be_judged_when_it_is_upgraded(tmp_path):
    old = shutil.copytree(Path(__file__).parent / "formats" / "v4", tmp_path / "old")
    upgrade_index(old)
    encoder = HashEncoder()
    encoder.dim = 16
    with opened(old, encoder) as index:
        assert index.judgements() == []
        index.judge("swallowed", "card")
        assert index.judgements() == [Judgement("swallowed", "card", True)]
    found = check_index(old, encoder=encoder).findings
    assert [each for each in found if each.code == "judgements"] == []
