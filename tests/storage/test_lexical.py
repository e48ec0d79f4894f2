"""The lexical index against BM25 by hand, and against every way in which it might go stale."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from stores import DIM, raw, vectors, whole

from simsearch.errors import CorruptIndex
from simsearch.records import Document
from simsearch.storage import (
    DocumentStore,
    Inspection,
    PassageRows,
    forms_found,
    lexical,
    text_hash,
)

TEXTS = {
    "card": "the card was swallowed by the cash machine",
    "bank": "the bank sent a new card, and the card came late",
    "cat": "the cat sat on the mat",
    "title": "nothing to see",
    "zh": "银行卡被吞了怎么办",
    "ja": "東京タワーは高い",
}


def as_document(name, text):
    return Document(name, text, title="A machine for everybody" if name == "title" else None)


def put(store, texts, *, batch=2):
    given = [as_document(name, text) for name, text in texts.items()]
    for start in range(0, len(given), batch):
        with store.transaction():
            part = given[start : start + batch]
            store.insert(part, whole(part, vectors(len(part), start + 1.0)))


@pytest.fixture
def filled(store):
    put(store, TEXTS)
    return store


def found(store, query, n=10, **options):
    """Return the ids that a query finds, best first."""
    with store.snapshot():
        numbers = [number for number, _ in store.lexical.search(query, n, **options)]
        documents = store.fetch_numbers(numbers)
    return [documents[number].id for number in numbers]


def bm25(words, query):
    """BM25 with k1 = 1.2, b = 0.75 of documents that are lists of stemmed words, as FTS5 has it."""
    average = sum(map(len, words)) / len(words)
    scores = []
    for its in words:
        score = 0.0
        for word in query:
            holding = sum(word in other for other in words)
            idf = max(math.log((len(words) - holding + 0.5) / (holding + 0.5)), 1e-6)
            tf = Counter(its)[word]
            score += idf * tf * 2.2 / (tf + 1.2 * (0.25 + 0.75 * len(its) / average))
        scores.append(score)
    return scores


def test_scores_are_those_of_bm25(store):
    words = [["cat", "sat"], ["cat", "dog", "cat"], ["bird"], ["sat", "dog", "bird"], ["red"]]
    put(store, {str(n): " ".join(its) for n, its in enumerate(words)})
    with store.snapshot():
        hits = store.lexical.search("a cat, or a dog?", 10)
    expected = bm25(words, ["cat", "dog"])
    assert [number for number, _ in hits] == [1, 0, 3]
    assert [score for _, score in hits] == pytest.approx([expected[n] for n in (1, 0, 3)])


def test_the_shares_of_terms_are_bm25_of_each_word_alone(store):
    words = [["cat", "sat"], ["cat", "dog", "cat"], ["bird"], ["sat", "dog", "bird"], ["red"]]
    put(store, {str(n): " ".join(its) for n, its in enumerate(words)})
    cat, dog = bm25(words, ["cat"]), bm25(words, ["dog"])
    with store.snapshot():
        shares = store.lexical.shares("a cat, or a dog?", [3, 1, 2])
        scores = dict(store.lexical.search("a cat, or a dog?", 10))
    assert shares == {
        3: {"dog": pytest.approx(dog[3])},
        1: {"cat": pytest.approx(cat[1]), "dog": pytest.approx(dog[1])},
        2: {},
    }
    assert sum(shares[1].values()) == pytest.approx(scores[1], rel=1e-12)


def test_shares_are_of_the_rarest_terms_or_of_all(store):
    put(store, {f"d{n}": "common word" for n in range(20)} | {"rare": "a rare common text"})
    with store.snapshot():
        assert list(store.lexical.shares("rare common", [20])[20]) == ["rare"]
        assert list(store.lexical.shares("rare common", [20], rarest=False)[20]) == [
            "rare",
            "common",
        ]
        assert store.lexical.shares("rare", []) == {}


def test_a_term_finds_its_forms_and_a_character_the_pairs_that_begin_with_it():
    words = ["swallowed", "swallows", "wallow", "银行", "行卡", "银"]
    assert forms_found(["swallowing", "银*", "行卡", "cat"], words) == {
        "swallowing": {"swallowed", "swallows"},
        "银*": {"银行", "银"},
        "行卡": {"行卡"},
        "cat": set(),
    }


def test_words_are_found_in_other_forms_and_in_titles(filled):
    assert found(filled, "swallowing machines") == ["card", "title"]
    assert found(filled, "Who CAME?") == ["bank"]


@pytest.mark.parametrize(
    ("query", "names"),
    [("银行", ["zh"]), ("行卡", ["zh"]), ("了怎", ["zh"]), ("東京", ["ja"]), ("タワ", ["ja"])],
)
def test_two_characters_find_their_text(filled, query, names):
    assert found(filled, query) == names


@pytest.mark.parametrize(
    ("query", "name"), [("银", "zh"), ("卡", "zh"), ("办", "zh"), ("い", "ja")]
)
def test_one_character_finds_its_text_wherever_it_stands(filled, query, name):
    assert found(filled, query) == [name]


@pytest.mark.parametrize(
    "query",
    [
        *("multi-agent card", "don't card", "card AND", "NEAR(card", "* card", '"card', "card:x"),
        *("card NOT", "^card", "{card}", "card -x", "card + ", "(card", "card' OR 1=1 --", "card*"),
    ],
)
def test_row_58_a_query_is_words_and_never_syntax(filled, query):
    assert found(filled, query)[:1] == ["bank"]


@pytest.mark.parametrize("query", ["?", "…", "😀", " - ", "zzzz"])
def test_a_query_without_a_known_word_finds_nothing(filled, query):
    assert found(filled, query) == []


def test_a_query_as_long_as_is_accepted_is_answered(filled):
    assert found(filled, "card " + " ".join(f"w{n}" for n in range(10_000)))[0] == "bank"
    assert found(filled, "银行" + "".join(chr(0x4E00 + n % 5_000) for n in range(60_000))) != []


def test_of_a_long_query_the_rarest_words_are_looked_for_wherever_they_stand(store):
    fillers = [f"w{n}" for n in range(300)]
    common = {f"d{n}": " ".join(fillers) for n in range(20)}
    put(store, {**common, "error": "ORA 01555 snapshot too old", "other": "nothing of that"})
    for words in ([*fillers, "ora", "01555"], ["ora", "01555", *fillers]):
        query = " ".join(words)
        assert found(store, query, 1) == ["error"]
        with store.snapshot():
            ((number, _),) = store.lexical.search(query, 1)
            assert list(store.lexical.shares(query, [number])[number]) == ["ora", "01555"]


def test_an_empty_index_finds_nothing(store):
    assert found(store, "card") == []


def test_equal_scores_are_in_the_order_of_documents(store):
    put(store, {name: "same words" for name in "edcba"} | dict.fromkeys("vwxyz", "other texts"))
    assert found(store, "words", n=3) == ["e", "d", "c"]


def test_deleted_and_replaced_texts_are_not_found(filled):
    with filled.transaction():
        filled.remove(["card", "zh"])
        filled.insert([Document("card", "a parcel")], whole([Document("card", "x")], vectors(1)))
    assert found(filled, "swallowed machine") == ["title"]
    assert found(filled, "银行") == []
    assert found(filled, "parcel") == ["card"]


def test_scores_after_deletions_are_those_of_an_index_without_them(filled, directory, tmp_path):
    with filled.transaction():
        filled.remove(["card", "cat", "ja"])
    other = tmp_path / "other"
    other.mkdir()
    DocumentStore.create(other, dim=DIM, settings={"encoder": "none"})
    fresh = DocumentStore.open(other)
    put(fresh, {name: text for name, text in TEXTS.items() if name not in ("card", "cat", "ja")})
    with filled.snapshot(), fresh.snapshot():
        one = filled.lexical.search("a new card machine", 10)
        two = fresh.lexical.search("a new card machine", 10)
    fresh.close()
    assert [score for _, score in one] == [score for _, score in two]


def test_numbers_of_documents_are_those_of_the_commit_that_is_read(store):
    put(store, {f"d{n}": "card" if n < 2 else "other" for n in range(6)})
    assert found(store, "card") == ["d0", "d1"]
    with store.transaction():
        more = [as_document(f"e{n}", "card") for n in range(5)]
        store.insert(more, whole(more, vectors(5, 9.0)))
    assert found(store, "card") == []  # more than half of them hold it now
    with store.transaction():
        store.remove([document.id for document in more])
    assert found(store, "card") == ["d0", "d1"]


def test_what_is_rolled_back_is_not_found(filled):
    with pytest.raises(KeyboardInterrupt), filled.transaction():
        filled.remove(["cat"])
        raise KeyboardInterrupt
    assert found(filled, "cat") == ["cat"]


@pytest.mark.parametrize("handed", [0, 100])
def test_among_some_documents_only_these_are_found(filled, monkeypatch, handed):
    monkeypatch.setattr(lexical, "HANDED", handed)
    every = np.arange(len(TEXTS), dtype=np.int64)
    assert found(filled, "the card", among=every, least=3) == ["bank", "card", "cat"]
    assert found(filled, "the card", among=np.array([0, 2, 3]), least=3) == ["card", "cat"]
    assert found(filled, "the card", n=1, among=np.array([2]), least=1) == ["cat"]
    assert found(filled, "the card", among=np.array([], dtype=np.int64), least=1) == []


def test_words_that_many_documents_hold_are_looked_for_only_where_rarer_ones_find_too_little(
    store, monkeypatch
):
    put(store, {f"d{n}": "common word" for n in range(20)} | {"rare": "a rare text"})
    assert found(store, "a rare common word") == ["rare"]
    assert len(found(store, "a rare common word", n=30, least=5)) == 21
    assert len(found(store, "common word", n=30, least=1)) == 20
    monkeypatch.setattr(lexical, "BUDGET", 3)
    put(store, {f"e{n}": "a seldom text" for n in range(3)})
    assert found(store, "rare seldom") == ["rare"]  # 1 + 3 documents are more than 3


@pytest.mark.parametrize("budget", [lexical.BUDGET, 4])
def test_a_word_of_more_than_half_of_the_documents_is_looked_for_only_where_any_hit_is_wanted(
    store, monkeypatch, budget
):
    monkeypatch.setattr(lexical, "BUDGET", budget)
    texts = ["common half"] * 10 + ["common"] + ["other"] * 9
    put(store, {f"d{n}": text for n, text in enumerate(texts)})
    assert found(store, "common") == []
    assert len(found(store, "common", n=20, least=20)) == 11
    assert len(found(store, "half", n=20)) == 10


@pytest.mark.parametrize("query", ["most more rare", "rare most more", "more rare most"])
def test_of_words_of_very_many_documents_the_rarest_is_looked_for_in_any_order(
    store, monkeypatch, query
):
    monkeypatch.setattr(lexical, "BUDGET", 3)
    texts = ["rare more most"] * 5 + ["more most"] * 3 + ["most"] * 8 + ["other"] * 4
    put(store, {f"d{n}": text for n, text in enumerate(texts)})
    assert sorted(found(store, query, n=20)) == [f"d{n}" for n in range(5)]


def test_half_of_the_documents_is_not_half_of_their_passages(store):
    documents = [as_document(f"d{n}", f"common text n{n}") for n in range(4)]
    ranges = [[(0, 6), (7, 11), (0, 14)] for _ in documents]
    hashes = [text_hash(f"{document.id} {n}") for document in documents for n in range(3)]
    with store.transaction():
        store.insert(documents, PassageRows(ranges, vectors(12, 1.0), hashes))
    assert found(store, "common text") == []  # 4 documents hold it, which is not half of 12
    assert found(store, "common n2") == ["d2"]


def test_a_store_whose_terms_were_made_by_other_rules_is_made_anew_by_the_next_write(
    filled, directory
):
    with raw(directory) as connection:
        connection.execute("UPDATE meta SET value = '0 unicode 1' WHERE key = 'lexical_terms'")
        connection.execute("INSERT INTO lexical (lexical) VALUES ('delete-all')")
    with filled.transaction():
        filled.remove(["cat"])
    assert found(filled, "cat") == []
    assert found(filled, "card") == ["bank", "card"]
    assert findings(directory) == []


def findings(directory):
    with Inspection(directory) as inspection:
        inspection.read_blocks()
        list(inspection.read_documents())
        inspection.findings.clear()  # the vectors of these tests are no unit vectors
        inspection.compare_lexical()
        return [(each.severity, each.code) for each in inspection.findings]


def test_a_sound_lexical_index_is_found_sound(filled, directory):
    with filled.transaction():
        filled.remove(["card", "ja"])
    assert findings(directory) == []


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO lexical (rowid, terms) VALUES (99, 'card')",
        "INSERT INTO lexical (lexical) VALUES ('delete-all')",
        "INSERT INTO lexical (lexical, rowid, terms) VALUES ('delete', 2, 'the dog sat')",
        "DELETE FROM lexical_docsize WHERE id = 1",
        "DELETE FROM lexical_data WHERE id > 10",
        "UPDATE lexical_data SET block = zeroblob(length(block)) WHERE id > 10",
    ],
)
def test_a_lexical_index_that_is_not_that_of_the_texts_is_damage(filled, directory, statement):
    with raw(directory) as connection:
        connection.execute(statement)
    assert findings(directory) == [("damage", "lexical")]


def test_terms_made_by_other_rules_are_a_note(filled, directory):
    with raw(directory) as connection:
        connection.execute("UPDATE meta SET value = '0' WHERE key = 'lexical_terms'")
    assert findings(directory) == [("note", "lexical")]


def test_a_lexical_index_that_sqlite_cannot_read_is_damage(filled, directory):
    with raw(directory) as connection:
        connection.execute("UPDATE lexical_data SET block = x'00' WHERE id > 10")
    with pytest.raises(CorruptIndex):
        found(filled, "card")


def test_a_damaged_document_is_not_taken_out_by_words_it_never_had(filled, directory):
    with raw(directory) as connection:
        connection.execute("UPDATE documents SET text = 'other words' WHERE id = 'cat'")
    with (
        pytest.raises(CorruptIndex, match="the document of row 2 is damaged"),
        filled.transaction(),
    ):
        filled.remove(["cat"])
