"""Hits say which words carry them, and may be compared with the query more closely."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import HashEncoder

from simsearch.encoder import Encoder, PairScorer, pair_scorer_from, pair_scorer_text
from simsearch.errors import CorruptIndex, EncoderError, InvalidData, InvalidInput
from simsearch.query import Fusion, FusionWay, SearchMode, maxsim, unit_rows
from simsearch.records import Document, Hit
from simsearch.search_index import (
    ModeChoice,
    Rerank,
    RerankChoice,
    SearchIndex,
    choose_rerank,
    compact_index,
)

DOCUMENTS = [
    Document("card", "my card was swallowed by the machine"),
    Document("late", "the parcel came late", title="lost order"),
    Document("cat", "The cat, a red one; sat on the mat!"),
    Document("dog", "a dog and a bird"),
]
QUERY = "the machine swallowed my card"


@pytest.fixture(scope="module")
def encoder(tiny_encoder_dir: Path) -> Encoder:
    return Encoder.load(tiny_encoder_dir)


@pytest.fixture
def index(tmp_path: Path, encoder: Encoder):
    with SearchIndex.create(tmp_path / "index", encoder=encoder) as index:
        index.add(DOCUMENTS)
        yield index


def shares(hit: Hit) -> dict[str, float]:
    return {
        (hit.title if word.field == "title" else hit.text)[word.start : word.end]: word.contribution
        for word in hit.explanation.words
    }


def test_the_contributions_add_up_to_the_score_and_the_words_are_in_their_place(index):
    hits = index.explain(QUERY, index.search(QUERY, k=4))
    assert [hit.id for hit in hits] == [hit.id for hit in index.search(QUERY, k=4)]
    for hit in hits:
        found = hit.explanation
        assert found.exact
        total = sum(word.contribution for word in found.words) + found.rest
        assert total == pytest.approx(hit.score, abs=1e-9)
    by_id = {hit.id: hit for hit in hits}
    cat = "The cat , a red one ; sat on the mat !"
    assert list(shares(by_id["cat"])) == cat.split()
    assert list(shares(by_id["late"])) == ["lost", "order", "the", "parcel", "came", "late"]
    assert [word.field for word in by_id["late"].explanation.words] == ["title"] * 2 + ["text"] * 4


def test_a_contribution_is_that_of_the_token_vectors(index, encoder):
    (hit,) = index.explain("red bird", index.search("red bird", k=1, where=None))
    (query,), (text,) = encoder.read_queries(["red bird"]), encoder.read_documents([hit.text])
    direction = query.vectors.sum(axis=0) / np.linalg.norm(query.vectors.sum(axis=0))
    whole = text.vectors.sum(axis=0)
    first = hit.explanation.words[0]
    token = np.flatnonzero(text.offsets[:, 1] == first.end)[0]
    expected = direction @ text.vectors[token] / np.linalg.norm(whole)
    assert first.contribution == pytest.approx(float(expected), abs=1e-6)
    for start, end, value in first.query:
        own = np.flatnonzero((query.offsets[:, 0] == start) & (query.offsets[:, 1] == end))[0]
        pair = query.vectors[own] @ text.vectors[token]
        pair /= np.linalg.norm(query.vectors.sum(axis=0)) * np.linalg.norm(whole)
        assert value == pytest.approx(float(pair), abs=1e-6)


def test_a_reading_is_the_embedding_and_the_tokens_of_one_pass(encoder):
    texts = ["my card", "the cat sat on the mat"]
    read = encoder.read_documents(texts)
    np.testing.assert_allclose(
        [reading.embedding for reading in read], encoder.encode_documents(texts), atol=1e-6
    )
    for reading, tokens in zip(read, encoder.encode_tokens(texts), strict=True):
        np.testing.assert_allclose(reading.vectors, tokens.vectors, atol=1e-5)
        np.testing.assert_array_equal(reading.offsets, tokens.offsets)
        assert reading.pooled.all()


def test_a_passage_is_explained_where_it_stands_in_the_whole_text(tmp_path, encoder):
    text = " ".join(["the cat sat on the mat."] * 40 + ["my card was swallowed."])
    with SearchIndex.create(tmp_path / "p", encoder=encoder, long_texts="passages") as index:
        index.add([Document("long", text, title="lost order")])
        (hit,) = index.explain("my card", index.search("my card"))
    start, end = hit.passage
    words = hit.explanation.words
    assert [word.field for word in words[:3]] == ["title", "title", "text"]
    assert words[2].start == start
    assert all(start <= word.start < word.end <= end for word in words[2:])
    assert text[words[2].start : words[2].end] in ("the", "my")
    total = sum(word.contribution for word in words) + hit.explanation.rest
    assert total == pytest.approx(hit.score, abs=1e-9)
    assert abs(hit.explanation.rest) < 0.2


def test_an_index_of_fewer_components_is_explained_by_these(tmp_path, encoder):
    with SearchIndex.create(tmp_path / "cut", encoder=encoder, dim=8) as index:
        index.add(DOCUMENTS)
        (hit,) = index.explain(QUERY, index.search(QUERY, k=1))
    assert hit.explanation.exact
    total = sum(word.contribution for word in hit.explanation.words) + hit.explanation.rest
    assert total == pytest.approx(hit.score, abs=1e-9)


WORDS = [(document.title or "").split() + document.text.split() for document in DOCUMENTS]


def bm25_of(word: str, number: int) -> float:
    """BM25 of one word in a document, k1 1.2 and b 0.75, without stemming."""
    words = [[each.strip(",;!").lower() for each in its] for its in WORDS]
    holding = sum(word in its for its in words)
    idf = max(math.log((len(words) - holding + 0.5) / (holding + 0.5)), 1e-6)
    tf, length = words[number].count(word), len(words[number])
    average = sum(map(len, words)) / len(words)
    return idf * tf * 2.2 / (tf + 1.2 * (0.25 + 0.75 * length / average))


@pytest.mark.parametrize(
    "way",
    [
        {"mode": "dense"},
        {"mode": "lexical"},
        {"mode": "hybrid", "fusion": Fusion(FusionWay.CONVEX, 0.3)},
        {"mode": "hybrid", "fusion": Fusion(FusionWay.RECIPROCAL)},
    ],
)
@pytest.mark.parametrize("options", [{}, {"diversity": 0.4}, {"where": "kind = 'a'"}])
def test_parts_add_up_to_the_score_words_to_the_similarity_terms_to_bm25(
    tmp_path, encoder, way, options
):
    with SearchIndex.create(tmp_path / "i", encoder=encoder) as index:
        index.add([replace(document, metadata={"kind": "a"}) for document in DOCUMENTS])
        hits = index.explain(QUERY, index.search_many([QUERY], k=4, **way, **options)[0])
    assert hits[0].id == "card"
    for hit in hits:
        assert sum(hit.parts.values()) == pytest.approx(hit.score, abs=1e-9)
        found = hit.explanation
        similarity = sum(word.contribution for word in found.words) + found.rest
        assert similarity == pytest.approx(hit.dense or 0.0, abs=1e-9)
        lexical = sum(term.contribution for term in found.terms)
        assert lexical == pytest.approx(hit.lexical or 0.0, rel=1e-9)
    assert hits[0].parts.keys() == ({"dense", "lexical"} if "fusion" in way else {way["mode"]})


@pytest.mark.parametrize(
    ("fusion", "kept"), [(Fusion(FusionWay.CONVEX, 0.7), 0.5), (Fusion(FusionWay.RECIPROCAL), 1.0)]
)
def test_reranked_hits_of_both_searches_have_three_parts_that_add_up(index, fusion, kept):
    found = index.search_many([QUERY], k=4, mode="hybrid", fusion=fusion)
    before = {hit.id: hit for hit in found[0]}
    (hits,) = index.rerank([QUERY], found, by="maxsim", fusion=fusion)
    for hit in index.explain(QUERY, hits):
        assert hit.parts.keys() == {"dense", "lexical", "maxsim"}
        assert sum(hit.parts.values()) == pytest.approx(hit.score, abs=1e-9)
        for part, value in before[hit.id].parts.items():
            assert hit.parts[part] == pytest.approx(kept * value)
        lexical = sum(term.contribution for term in hit.explanation.terms)
        assert lexical == pytest.approx(hit.lexical or 0.0, rel=1e-9)


def test_after_reciprocal_rank_fusion_the_comparison_is_one_ranking_more(index, encoder):
    fusion = Fusion(FusionWay.RECIPROCAL)
    (found,) = index.search_many([QUERY], k=4, mode="hybrid", fusion=fusion)
    (asked,) = encoder.read_queries([QUERY])
    contents = [f"{hit.title} {hit.text}" if hit.title else hit.text for hit in found]
    closer = [
        maxsim(unit_rows(asked.vectors[1:-1]), unit_rows(read.vectors[1:-1]))
        for read in encoder.read_documents(contents)
    ]
    ranks = {found[place].id: rank for rank, place in enumerate(np.argsort(closer)[::-1], start=1)}
    expected = {hit.id: hit.score + 1 / (60 + ranks[hit.id]) for hit in found}
    (hits,) = index.rerank([QUERY], [found], by="maxsim", fusion=fusion)
    assert {hit.id: hit.score for hit in hits} == pytest.approx(expected)
    assert [hit.id for hit in hits] == sorted(expected, key=lambda name: -expected[name])
    index.keep_mode_choice(ModeChoice(SearchMode.HYBRID, fusion, queries=60))
    assert index.rerank([QUERY], index.search_many([QUERY], k=4), by="maxsim") == [hits]
    dense = index.search_many([QUERY], k=4, mode="dense")
    assert index.rerank([QUERY], dense, by="maxsim", fusion=fusion) == index.rerank(
        [QUERY], dense, by="maxsim"
    )


def test_a_term_has_the_bm25_of_its_word_and_all_its_places(index):
    query = "late, a red cat"
    (cat,) = index.explain(query, index.search(query, k=1, mode="lexical", where=None))
    assert cat.id == "cat"
    terms = cat.explanation.terms
    assert {term.term for term in terms[:2]} == {"red", "cat"}
    assert terms[2].term == "a"  # which half of the documents hold
    for term in terms:
        assert term.contribution == pytest.approx(bm25_of(term.term, 2))
        ((field, start, end),) = term.places
        assert (field, cat.text[start:end]) == ("text", term.term)
        ((start, end),) = term.query
        assert query[start:end] == term.term
    assert cat.score == pytest.approx(sum(bm25_of(word, 2) for word in ("a", "red", "cat")))


def test_a_word_is_found_in_other_forms_in_the_title_too(index):
    query = "Losing? LOST orders came lately"
    hits = index.explain(query, index.search(query, mode="lexical"))
    (late,) = [hit for hit in hits if hit.id == "late"]
    places = {
        query[slice(*term.query[0])]: [
            (field, (late.title if field == "title" else late.text)[start:end])
            for field, start, end in term.places
        ]
        for term in late.explanation.terms
    }
    assert places == {
        "LOST": [("title", "lost")],
        "orders": [("title", "order")],
        "came": [("text", "came")],
        "lately": [("text", "late")],
    }
    assert late.explanation.words == ()


def test_a_frequent_word_is_a_reason_where_the_search_looked_for_it(index):
    query = "the dog"
    (few,) = index.explain(query, index.search(query, k=1, mode="lexical"))
    assert [term.term for term in few.explanation.terms] == ["dog"]
    many = index.explain(query, index.search(query, k=4, mode="lexical"))
    by_id = {hit.id: [term.term for term in hit.explanation.terms] for hit in many}
    assert by_id == {"dog": ["dog"], "card": ["the"], "late": ["the"], "cat": ["the"]}
    for hit in many:
        assert sum(each.contribution for each in hit.explanation.terms) == hit.lexical


def test_pairs_of_characters_are_found_where_they_stand(tmp_path, hash_encoder):
    with SearchIndex.create(tmp_path / "zh", encoder=hash_encoder) as index:
        index.add(
            [Document("zh", "我的银行卡被吞了"), Document("ja", "東京"), Document("x", "cat")]
        )
        (hit,) = index.explain("银行卡 吞", index.search("银行卡 吞", mode="lexical"))
    found = {
        term.term: [hit.text[a:b] for _, a, b in term.places] for term in hit.explanation.terms
    }
    assert found == {"银行": ["银行"], "行卡": ["行卡"], "吞*": ["吞"]}


def test_what_words_alone_have_found_needs_no_encoder(tmp_path, hash_encoder):
    with SearchIndex.create(tmp_path / "plain", encoder=hash_encoder) as index:
        index.add(DOCUMENTS)
        hash_encoder.encoded.clear()
        (hit, *_) = index.explain("my card", index.search("my card", mode="lexical"))
        assert [term.term for term in hit.explanation.terms] == ["my", "card"]
        assert hash_encoder.encoded == []


def test_no_hits_have_no_explanation(index):
    assert index.explain(QUERY, []) == []


def test_an_encoder_without_token_vectors_is_refused(tmp_path, hash_encoder):
    with SearchIndex.create(tmp_path / "plain", encoder=hash_encoder) as index:
        index.add(DOCUMENTS)
        hits = index.search("card")
        with pytest.raises(EncoderError, match="gives no token vectors"):
            index.explain("card", hits)
        with pytest.raises(EncoderError, match="gives no token vectors"):
            index.rerank(["card"], [hits], by="maxsim")


def test_token_by_token_the_order_is_that_of_numpy(index, encoder):
    queries = [QUERY, "a red bird"]
    found = index.search_many(queries, k=4)
    again = index.rerank(queries, found, by="maxsim")
    for query, hits, ranked in zip(queries, found, again, strict=True):
        (asked,) = encoder.read_queries([query])
        expected = {}
        for hit in hits:
            content = f"{hit.title} {hit.text}" if hit.title else hit.text
            (read,) = encoder.read_documents([content])
            closer = maxsim(unit_rows(asked.vectors[1:-1]), unit_rows(read.vectors[1:-1]))
            expected[hit.id] = 0.5 * hit.score + 0.5 * closer
        assert [hit.id for hit in ranked] == sorted(expected, key=lambda name: -expected[name])
        for hit in ranked:
            assert hit.score == pytest.approx(expected[hit.id], abs=1e-5)
            assert sum(hit.parts.values()) == pytest.approx(hit.score)
            assert hit.parts.keys() == {"dense", "maxsim"}


def scorer(dim: int) -> PairScorer:
    """Return a scorer that takes two texts for a match the less their first components differ."""
    weight = np.zeros((2, 3 * dim), dtype=np.float32)
    weight[1, 2 * dim] = -50
    return PairScorer(("0", "1"), weight, np.array([0, 5], dtype=np.float32))


class Paired(HashEncoder):
    def __init__(self, own: PairScorer | None) -> None:
        super().__init__()
        self.pair_scorer = own

    def read_queries(self, texts):
        raise NotImplementedError

    def read_documents(self, texts):
        raise NotImplementedError


def test_by_pairs_the_score_has_the_scorers_probability(tmp_path):
    own = scorer(256)
    with SearchIndex.create(tmp_path / "i", encoder=Paired(own)) as index:
        index.add(DOCUMENTS)
        (found,) = index.search_many([QUERY], k=4)
        (ranked,) = index.rerank([QUERY], [found], by=Rerank.PAIR)
        query = index.encoder.encode_queries([QUERY])
        for hit in ranked:
            content = f"{hit.title} {hit.text}" if hit.title else hit.text
            chance = own.probabilities(query, index.encoder.encode_documents([content]))[0, 1]
            assert hit.parts["pair"] == pytest.approx(0.5 * float(chance), abs=1e-6)
            assert hit.score == pytest.approx(sum(hit.parts.values()))
        assert [hit.score for hit in ranked] == sorted((h.score for h in ranked), reverse=True)


def test_the_pair_scorer_goes_with_the_index_through_compaction(tmp_path):
    with SearchIndex.create(tmp_path / "i", encoder=Paired(scorer(256))) as index:
        index.add(DOCUMENTS)
        index.delete(["dog"])
    compact_index(tmp_path / "i")
    with SearchIndex.open(tmp_path / "i", encoder=Paired(None)) as index:
        found = index.search_many([QUERY], k=2)
        assert index.rerank([QUERY], found, by="pair")[0][0].parts.keys() == {"dense", "pair"}


def test_without_a_pair_scorer_or_a_class_of_matches_pairs_are_refused(tmp_path):
    with SearchIndex.create(tmp_path / "none", encoder=Paired(None)) as index:
        index.add(DOCUMENTS)
        with pytest.raises(EncoderError, match="keeps no pair scorer"):
            index.rerank([QUERY], [[]], by="pair")
    named = PairScorer(("no", "yes"), scorer(256).weight, scorer(256).bias)
    with SearchIndex.create(tmp_path / "named", encoder=Paired(named)) as index:
        index.add(DOCUMENTS)
        with pytest.raises(EncoderError, match="tells no, yes, and none of them is '1'"):
            index.rerank([QUERY], [[]], by="pair")


def test_an_index_of_fewer_components_keeps_no_pair_scorer(tmp_path):
    with SearchIndex.create(tmp_path / "i", encoder=Paired(scorer(256)), dim=250) as index:
        index.add(DOCUMENTS)
        with pytest.raises(EncoderError, match="keeps no pair scorer"):
            index.rerank([QUERY], [[]], by="pair")


def test_a_pair_scorer_is_read_as_it_was_written():
    own = scorer(4)
    again = pair_scorer_from(pair_scorer_text(own))
    assert again.classes == own.classes
    np.testing.assert_array_equal(again.weight, own.weight)
    np.testing.assert_array_equal(again.bias, own.bias)


@pytest.mark.parametrize(
    "text",
    ["{", "[]", '{"classes": ["0", "1"], "weight": "AAAA", "bias": "!"}', '{"classes": []}'],
)
def test_what_is_no_pair_scorer_is_refused(text):
    with pytest.raises(EncoderError, match="no pair scorer"):
        pair_scorer_from(text)


def test_none_leaves_hits_as_they_are_and_other_names_are_refused(index):
    found = index.search_many([QUERY], k=3)
    assert index.rerank([QUERY], found, by="none") == found
    with pytest.raises(InvalidInput, match="one of none, pair, maxsim, got 'colbert'"):
        index.rerank([QUERY], found, by="colbert")


def test_what_words_alone_have_found_and_nobody_reranks_loads_no_encoder(index):
    with SearchIndex.open(index.path) as other:
        found = other.search_many([QUERY], k=3, mode="lexical")
        assert other.rerank([QUERY], found, by="none") == found
        assert all(hit.explanation.terms for hit in other.explain(QUERY, found[0]))
        assert not other._encoder.loaded


def test_an_index_does_not_rerank_by_itself_until_it_measured_better(index):
    assert index.rerank_choice() == RerankChoice(Rerank.NONE, 20)
    asked = list(enumerate(DOCUMENTS * 3))
    queries = {str(n): document.text for n, document in asked}
    qrels = {str(n): {document.id: 1} for n, document in asked}
    few = {name: queries[name] for name in list(queries)[:9]}
    with pytest.raises(InvalidData, match="9 queries with an answer in the index, at least 10"):
        choose_rerank(index, few, qrels, by="maxsim", top=4)
    with pytest.raises(InvalidInput, match="reranking by none needs no measuring"):
        choose_rerank(index, queries, qrels, by="none", top=4)
    # Judgements of queries that are not asked say nothing.
    more = {**qrels, "not asked": {DOCUMENTS[0].id: 1}}
    report = choose_rerank(index, queries, more, by="maxsim", top=4)
    choice = index.rerank_choice()
    assert report.choice == choice
    assert (choice.by, choice.measured, choice.queries) == (Rerank.NONE, Rerank.MAXSIM, 12)
    assert (choice.before, choice.after) == (report.before, report.after)


def test_a_choice_of_an_earlier_version_is_read(index):
    with index._store.transaction():
        index._store.settings.write_constant("rerank", '{"by": "maxsim", "top": 30}')
    assert index.rerank_choice() == RerankChoice(Rerank.MAXSIM, 30)
    assert index.rerank_choice().for_search("hybrid") == RerankChoice(Rerank.MAXSIM, 30)
    assert index.rerank_choice().reason.startswith("not measured on this index")


def test_what_measured_better_is_kept_and_seen_by_others(tmp_path):
    # Twenty questions whose answers only the scorer finds: it knows them by the first component.
    class Odd(Paired):
        def encode_documents(self, texts, *, counts=None):
            rows = super().encode_documents(texts)
            rows[:, 0] = [0.3 if text.startswith("yes") else 0.0 for text in texts]
            return rows / np.linalg.norm(rows, axis=1, keepdims=True)

        def encode_queries(self, texts):
            return self.encode_documents([f"yes {text}" for text in texts])

    with SearchIndex.create(tmp_path / "i", encoder=Odd(scorer(256))) as index:
        queries = {f"q{n}": f"word{n} other{n}" for n in range(20)}
        index.add([Document(f"a{n}", f"yes word{n} said so far") for n in range(20)])
        index.add([Document(f"b{n}", f"word{n} other{n}") for n in range(20)])
        qrels = {f"q{n}": {f"a{n}": 1} for n in range(20)}
        report = choose_rerank(index, queries, qrels, by="pair", top=10)
        assert report.after > report.before
        assert report.difference.low > 0
        assert (report.choice.by, report.choice.top) == (Rerank.PAIR, 10)
        assert report.choice.reason.startswith("nDCG@10 of 20 queries, dense: ")
        with SearchIndex.open(index.path, encoder=Odd(None)) as other:
            assert other.rerank_choice() == report.choice
        # Of hits of another search nothing was measured.
        assert report.choice.for_search("dense") == report.choice
        assert report.choice.for_search("hybrid") == RerankChoice(Rerank.NONE)
        assert index.info().rerank == "pair"
        index.keep_mode_choice(ModeChoice(SearchMode.HYBRID))
        assert index.info().rerank == "none"
        assert choose_rerank(index, queries, qrels, by="pair", top=10).choice.mode == "hybrid"


def test_a_rerank_choice_goes_with_the_fusion_that_it_was_measured_on(tmp_path, encoder, caplog):
    with SearchIndex.create(tmp_path / "i", encoder=encoder) as index:
        even, uneven = Fusion(FusionWay.CONVEX, 0.5), Fusion(FusionWay.CONVEX, 0.7)
        measured = RerankChoice(
            Rerank.MAXSIM, 20, Rerank.MAXSIM, queries=60, mode=SearchMode.HYBRID
        )
        index.keep_mode_choice(ModeChoice(SearchMode.HYBRID, even, queries=60))
        index.keep_rerank_choice(measured)
        index.keep_mode_choice(ModeChoice(SearchMode.HYBRID, even, queries=90))
        assert (index.rerank_choice(), caplog.text) == (measured, "")
        index.keep_mode_choice(ModeChoice(SearchMode.HYBRID, uneven, queries=90))
        assert index.rerank_choice() == RerankChoice()
        assert "measured with another fusion" in caplog.text
        dense = replace(measured, mode=SearchMode.DENSE)
        index.keep_rerank_choice(dense)
        index.keep_mode_choice(ModeChoice(SearchMode.HYBRID, even, queries=90))
        assert index.rerank_choice() == dense


def test_a_malformed_choice_is_damage(index):
    with index._store.transaction():
        index._store.settings.write_constant("rerank", '{"by": "guess", "top": 3}')
    with pytest.raises(CorruptIndex, match="rerank"):
        index.rerank_choice()


def test_dense_hits_are_reranked_whatever_became_of_the_fusion(index):
    dense = index.search_many([QUERY], k=4, mode="dense")
    before = index.rerank([QUERY], dense, by="maxsim")
    with index._store.transaction():
        index._store.settings.write("fusion", "rotten")
    assert index.rerank([QUERY], dense, by="maxsim") == before
    with pytest.raises(CorruptIndex, match="search mode"):
        index.rerank(
            [QUERY], index.search_many([QUERY], k=4, mode="hybrid", fusion=Fusion()), by="maxsim"
        )
