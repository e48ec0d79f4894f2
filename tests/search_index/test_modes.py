"""Dense, lexical and hybrid search, and which of them an index does by itself."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import HashEncoder
from stores import raw

from simsearch.errors import CorruptIndex, EncoderMismatch, InvalidData, InvalidInput
from simsearch.evaluation import score_run
from simsearch.query import Fusion, SearchMode
from simsearch.records import Document
from simsearch.search_index import (
    ModeChoice,
    Rerank,
    RerankChoice,
    SearchIndex,
    check_index,
    compact_index,
    repair_index,
    tune_mode,
)
from simsearch.search_index.candidates import Reader
from simsearch.search_index.mode_tuning import FUSIONS, best_fusion

TEXTS = {
    "card": "my card was swallowed by the machine",
    "bank": "the bank opens an account",
    "money": "withdrawing money abroad",
    "cat": "the cat sat on the mat",
    "zh": "银行卡被吞了",
}


@pytest.fixture
def index(tmp_path):
    with SearchIndex.create(tmp_path / "index", encoder=HashEncoder()) as index:
        index.add([Document(name, text, metadata={"n": len(name)}) for name, text in TEXTS.items()])
        yield index


def ids(hits):
    return [hit.id for hit in hits]


def test_a_dense_search_is_the_default_and_its_score_is_the_similarity(index):
    hits = index.search("the cat")
    assert [(hit.score, hit.parts) for hit in hits] == [
        (hit.dense, {"dense": hit.dense}) for hit in hits
    ]
    assert len(hits) == 5
    assert {hit.lexical for hit in hits} == {None}


def test_a_lexical_search_finds_other_forms_of_a_word_and_encodes_nothing(index):
    index.encoder.encoded.clear()
    (hit,) = index.search("swallow", mode="lexical")
    assert (hit.id, hit.dense, hit.parts) == ("card", None, {"lexical": hit.lexical})
    assert hit.score == hit.lexical > 0
    assert index.encoder.encoded == []


def test_a_lexical_search_finds_two_characters(index):
    assert ids(index.search("吞了", mode="lexical")) == ["zh"]


def test_a_lexical_search_without_a_shared_word_finds_nothing(index):
    assert index.search("zebra", mode="lexical") == []
    assert index.search("?!", mode="lexical") == []


def test_a_hybrid_search_adds_up_both(index):
    hits = index.search("the withdrawal of the bank", mode="hybrid")
    assert len(hits) == 5
    for hit in hits:
        assert hit.score == pytest.approx(hit.parts["dense"] + hit.parts["lexical"])
        assert hit.dense is not None
    # By hand: similarity and BM25 brought to 0..1, each with its weight.
    dense = {hit.id: hit.score for hit in index.search("the withdrawal of the bank")}
    lexical = {
        hit.id: hit.score for hit in index.search("the withdrawal of the bank", mode="lexical")
    }
    low, high = min(dense.values()), max(dense.values())
    weight = Fusion().weight
    expected = {
        name: weight * (score - low) / (high - low)
        + (1 - weight) * lexical.get(name, 0) / max(lexical.values())
        for name, score in dense.items()
    }
    assert {hit.id: hit.score for hit in hits} == pytest.approx(expected, rel=1e-5)


def test_what_only_words_find_is_a_hybrid_hit_with_its_similarity(tmp_path):
    encoder = HashEncoder()
    with SearchIndex.create(tmp_path / "many", encoder=encoder) as index:
        index.add([Document(f"d{n}", f"the bank number {n}") for n in range(300)])
        index.add([Document("far", "swallowing")])
        assert "far" not in ids(index.search("swallowed the bank number", k=100))
        asked = ["swallowed the bank number"]
        (found,) = index.search_many(asked, k=100, mode="hybrid", fusion=Fusion(weight=0.3))
        hits = {hit.id: hit for hit in found}
    (query, text) = encoder.encode_documents(["swallowed the bank number", "swallowing"])
    assert hits["far"].dense == pytest.approx(float(query @ text), abs=1e-6)
    assert hits["far"].lexical > 0


@pytest.mark.parametrize("mode", ["dense", "lexical", "hybrid"])
def test_a_filter_lets_k_hits_through_if_there_are_k(tmp_path, mode, monkeypatch):
    monkeypatch.setattr("simsearch.storage.lexical.BUDGET", 50)
    with SearchIndex.create(tmp_path / "many", encoder=HashEncoder()) as index:
        index.add(
            [Document(f"d{n}", f"common text {n}", metadata={"n": n}) for n in range(400)]
            + [Document(f"r{n}", f"rare common {n}", metadata={"n": -1}) for n in range(60)]
        )
        hits = index.search("rare common text", k=20, mode=mode, where="n >= 380")
    assert sorted(ids(hits)) == sorted(f"d{n}" for n in range(380, 400))


def test_deleted_and_replaced_documents_are_found_by_what_they_are_now(index):
    index.delete(["card"])
    index.upsert([Document("cat", "the machine purrs")])
    assert index.search("swallow", mode="lexical") == []
    assert ids(index.search("machine", mode="lexical")) == ["cat"]


def test_another_process_is_followed(index):
    with SearchIndex.open(index.path, encoder=HashEncoder()) as other:
        assert index.search("zebra", mode="lexical") == []
        other.add([Document("zebra", "a zebra")])
    assert ids(index.search("zebras", mode="lexical")) == ["zebra"]


def test_passages_are_found_by_words_as_documents_and_by_both_with_their_place(tmp_path):
    long = " ".join(f"w{n}" for n in range(30)) + " needle"
    options = {"encoder": HashEncoder(), "long_texts": "passages"}
    with SearchIndex.create(tmp_path / "passages", **options) as index:
        index.add([Document("long", long), Document("short", "hay")])
        (by_words,) = index.search("needles", mode="lexical")
        assert (by_words.id, by_words.passage) == ("long", None)
        best = index.search("needle", mode="hybrid")[0]
        assert "needle" in long[slice(*best.passage)]
        assert ids(index.search("needle", mode="hybrid")) == ["long", "short"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "both"}, "mode must be one of dense, lexical, hybrid, got 'both'"),
        ({"diversity": 1.5}, r"diversity must be 0..1, got 1.5"),
        ({"diversity": float("nan")}, r"diversity must be 0..1, got nan"),
        ({"diversity": "x"}, r"diversity must be 0..1, got 'x'"),
        ({"group_by": "colour"}, r"no document has the field 'colour' \("),
    ],
)
def test_what_is_no_way_to_search_is_refused(index, options, message):
    with pytest.raises(InvalidInput, match=message):
        index.search("card", **options)


def questions(count):
    """Queries whose words are those of their answers, but in other forms: words alone find them."""
    documents = [Document(f"d{n}", f"swallowing{n}") for n in range(count)]
    queries = {f"q{n}": f"swallowed{n} swallowing{n}s" for n in range(count)}
    return documents, queries, {f"q{n}": {f"d{n}": 1} for n in range(count)}


@pytest.fixture
def measured(tmp_path):
    documents, queries, qrels = questions(40)
    with SearchIndex.create(tmp_path / "measured", encoder=HashEncoder()) as index:
        index.add(documents)
        yield index, tune_mode(index, queries, qrels)


def test_the_mode_that_measured_better_becomes_the_default_and_info_says_why(measured):
    index, choice = measured
    assert choice.mode != "dense"
    assert choice.scores["lexical"] > choice.scores["dense"]
    assert index.search("swallowing7")[0].lexical is not None
    assert index.info().mode == choice.mode
    assert index.info().mode_reason.startswith("nDCG@10 of 40 queries: dense 0.")


def test_an_index_that_nobody_measured_is_searched_by_similarity(index):
    assert index.info().mode == "dense"
    assert index.info().mode_reason.startswith("not measured on this index")


def test_dense_stays_where_words_do_not_help(tmp_path):
    encoder = HashEncoder()
    with SearchIndex.create(tmp_path / "i", encoder=encoder) as index:
        index.add([Document(f"d{n}", f"word{n}") for n in range(40)])
        choice = tune_mode(
            index,
            {f"q{n}": f"word{n}" for n in range(40)},
            {f"q{n}": {f"d{n}": 1} for n in range(40)},
        )
    assert (choice.mode, choice.scores["dense"]) == ("dense", 1.0)


def test_the_choice_survives_a_compaction_and_a_repair(measured):
    index, choice = measured
    index.delete(["d3"])
    compact_index(index.path)
    assert index.mode_choice() == choice
    with raw(index.path) as connection:
        connection.execute("UPDATE vector_blocks SET crc32 = 0")
    repair_index(index.path, encoder=HashEncoder())
    assert index.mode_choice() == choice


def test_a_damaged_choice_is_refused(measured):
    index, _ = measured
    with raw(index.path) as connection:
        connection.execute(
            "UPDATE meta SET value = replace(value, '0.', '1.') WHERE key = 'fusion'"
        )
    with pytest.raises(CorruptIndex, match="the search mode of the index is damaged: its checksum"):
        index.search("card")
    assert len(index.search("card", mode="dense")) == 10
    (finding,) = check_index(index.path, encoder=HashEncoder()).findings
    assert (finding.severity, finding.code) == ("damage", "setting")
    repair_index(index.path, encoder=HashEncoder())
    assert index.mode_choice().queries == 0


def test_too_few_queries_prove_nothing(index):
    with pytest.raises(InvalidData, match="1 queries with an answer in the index, at least 10"):
        tune_mode(index, {"q": "card", "r": "cat"}, {"q": {"card": 1}, "r": {"other": 1}})


def test_diverse_hits_leave_out_twins(tmp_path):
    with SearchIndex.create(tmp_path / "i", encoder=HashEncoder()) as index:
        index.add(
            [Document(f"twin{n}", "my card was lost") for n in range(5)]
            + [Document("other", "card of a bank"), Document("third", "nothing else")]
        )
        assert ids(index.search("my card", k=2)) == ["twin0", "twin1"]
        assert ids(index.search("my card", k=2, diversity=0.5)) == ["twin0", "other"]
        # 0.2 * 0 - 0 of what is like nothing else, over -0.6 of a twin.
        both = index.search("my card", k=2, diversity=0.8, mode="hybrid")
        assert ids(both) == ["twin0", "third"]
        assert ids(index.search("my card", k=2, diversity=0.5, mode="lexical"))[0] == "twin0"


@pytest.mark.parametrize("mode", ["dense", "lexical", "hybrid"])
def test_each_group_has_one_hit_and_k_groups_are_found_if_there_are_k(tmp_path, mode):
    with SearchIndex.create(tmp_path / "i", encoder=HashEncoder()) as index:
        index.add(
            [Document(f"a{n}", "my card", metadata={"group": "a"}) for n in range(500)]
            + [Document(f"b{n}", "card of a bank", metadata={"group": "b"}) for n in range(3)]
            + [Document("c", "a card at last, far away from all", metadata={"group": "c"})]
        )
        hits = index.search("my card", k=3, group_by="group", mode=mode)
        assert [hit.metadata["group"] for hit in hits] == ["a", "b", "c"]
        assert ids(index.search("my card", k=9, group_by="group", mode=mode)) == ids(hits)


def test_a_field_of_fewer_values_than_hits_is_no_reason_to_read_every_document(
    tmp_path, monkeypatch
):
    depths = []
    met = Reader.met

    def counted(self, asked, n, mode):
        depths.append(n)
        return met(self, asked, n, mode)

    monkeypatch.setattr(Reader, "met", counted)
    langs = ["en", "de", None]
    with SearchIndex.create(tmp_path / "i", encoder=HashEncoder()) as index:
        index.add(
            [Document(f"d{n}", f"card {n}", metadata={"lang": langs[n % 2]}) for n in range(300)]
        )
        found = index.search_many(["card 1", "card 2"], k=10, group_by="lang")
        assert [len({hit.metadata["lang"] for hit in hits}) for hits in found] == [2, 2]
        assert depths == [8]  # four times the two groups
        index.add([Document("none", "nothing like it", metadata={"lang": None, "other": 1})])
        assert len(index.search("card 1", k=10, group_by="lang")) == 3


def test_single_modes_are_measured_by_the_searches_that_are_run(tmp_path):
    # Every word is in more than half of the documents, so a hybrid search looks for none.
    words = ["red", "blue", "green", "old"]
    texts = [" ".join(w for w in words if w != left) for left in words] * 3
    documents = [Document(f"d{n}", f"{text} {text} n{n}") for n, text in enumerate(texts)]
    queries = {f"q{n}": text for n, text in enumerate(texts)}
    qrels = {f"q{n}": {f"d{m}": 1 for m in range(n % 4, 12, 4)} for n in range(12)}
    with SearchIndex.create(tmp_path / "i", encoder=HashEncoder()) as index:
        index.add(documents)
        choice = tune_mode(index, queries, qrels)
        for mode in ("dense", "lexical"):
            found = index.search_many(list(queries.values()), 10, mode=mode)
            run = {
                name: {hit.id: hit.score for hit in hits}
                for name, hits in zip(queries, found, strict=True)
            }
            expected = score_run(qrels, run, metrics=["ndcg@10"]).means()["ndcg@10"]
            assert choice.scores[mode] == pytest.approx(expected, abs=1e-9)
        assert choice.scores["lexical"] > 0.5


def test_what_was_measured_with_another_encoder_is_not_kept(index):
    with pytest.raises(EncoderMismatch, match="was switched to another encoder meanwhile"):
        index.keep_mode_choice(ModeChoice(SearchMode.HYBRID), fingerprint="another")
    with pytest.raises(EncoderMismatch, match="was switched to another encoder meanwhile"):
        index.keep_rerank_choice(RerankChoice(Rerank.MAXSIM), fingerprint="another")
    assert (index.mode_choice(), index.rerank_choice()) == (ModeChoice(), RerankChoice())


def test_a_weight_that_is_best_by_itself_alone_is_best_by_chance():
    scores = np.full((len(FUSIONS), 2), 0.5)
    scores[[FUSIONS.index(Fusion(weight=w)) for w in (0.6, 0.65, 0.7)]] = 0.7
    scores[FUSIONS.index(Fusion(weight=0.3))] = [0.8, 0.9]
    assert FUSIONS[best_fusion(scores)] == Fusion(weight=0.65)
    scores[-1] = 0.71  # has no neighbours
    assert FUSIONS[best_fusion(scores)].way == "reciprocal"
    scores[0] = scores[1] = 0.75  # the first weight counts twice: it has one neighbour alone
    assert FUSIONS[best_fusion(scores)] == Fusion(weight=0.05)
