"""What goes together: communities and k-means, against plain loops over the whole matrix."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import HashEncoder

from simsearch.ann import PairFinder, kmeans
from simsearch.corpus import cluster_documents
from simsearch.corpus import communities as module
from simsearch.corpus.communities import communities
from simsearch.corpus.keywords import Background
from simsearch.errors import InvalidInput
from simsearch.records import Document
from simsearch.search_index import SearchIndex


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def around(centres, count, *, spread, seed=0, dim=256):
    """Return rows around so many directions, and of which one each is."""
    rng = np.random.default_rng(seed)
    directions = unit(rng.standard_normal((centres, dim)))
    labels = rng.integers(0, centres, count)
    noise = unit(rng.standard_normal((count, dim)))
    return unit(directions[labels] + spread * noise), labels


def silent(_):
    return lambda done, total: None


def naive_communities(rows, threshold, min_size):
    """Star clustering with a matrix of all by all."""
    near = np.round(rows.astype(np.float64) @ rows.T, 6) >= threshold
    counts = near.sum(axis=1)
    labels = np.full(len(rows), -1)
    made = 0
    for middle in sorted(range(len(rows)), key=lambda row: (-counts[row], row)):
        free = [row for row in range(len(rows)) if near[middle, row] and labels[row] == -1]
        if labels[middle] == -1 and len(free) >= min_size:
            labels[free] = made
            made += 1
    return labels


@pytest.mark.parametrize("middles", [1, 7, 256])
@pytest.mark.parametrize(("threshold", "min_size"), [(0.6, 2), (0.7, 5), (0.5, 3)])
def test_communities_are_those_of_the_whole_graph(monkeypatch, middles, threshold, min_size):
    monkeypatch.setattr(module, "_MIDDLES", middles)
    rows, _ = around(15, 500, spread=0.7)
    finder = PairFinder(lambda start, stop: rows[start:stop], len(rows), threshold=threshold)
    expected = naive_communities(rows, threshold, min_size)
    assert expected.max() > 5
    assert communities(finder, min_size=min_size, stage=silent).tolist() == expected.tolist()


def test_neighbours_that_are_too_many_are_looked_up_one_middle_at_a_time(monkeypatch):
    monkeypatch.setattr(module, "_NEIGHBOURS", 3)
    rows, _ = around(5, 200, spread=0.5)
    finder = PairFinder(lambda start, stop: rows[start:stop], len(rows), threshold=0.6)
    expected = naive_communities(rows, 0.6, 3)
    assert communities(finder, min_size=3, stage=silent).tolist() == expected.tolist()


def made(path, rows):
    index = SearchIndex.create(path, encoder=HashEncoder())
    index.add([Document(f"d{n}", f"text {n}", metadata={"n": n}) for n in range(len(rows))], rows)
    return index


def test_k_means_finds_directions_that_are_apart(tmp_path):
    rows, labels = around(6, 300, spread=0.5)
    with made(tmp_path / "index", rows) as index:
        report = cluster_documents(index, clusters=6)
        assert cluster_documents(index, clusters=6) == report
    expected = {frozenset(f"d{n}" for n in np.flatnonzero(labels == k).tolist()) for k in range(6)}
    assert {frozenset(each.members) for each in report.clusters} == expected
    assert (report.documents, report.unclustered) == (300, 0)
    sizes = [each.size for each in report.clusters]
    assert sizes == sorted(sizes, reverse=True)


def test_members_come_by_how_central_they_are_and_cohesion_is_the_mean_of_all_pairs(tmp_path):
    rows, _ = around(3, 60, spread=0.6)
    with made(tmp_path / "index", rows) as index:
        report = cluster_documents(index, threshold=0.5, min_size=4, representatives=2)
    assert len(report.clusters) == 3
    for each in report.clusters:
        places = [int(name[1:]) for name in each.members]
        own = rows[places].astype(np.float64)
        products = own @ own.T
        pairs = products[np.triu_indices(len(own), 1)]
        assert each.cohesion == pytest.approx(pairs.mean(), abs=1e-5)
        centre = own.sum(axis=0) / np.linalg.norm(own.sum(axis=0))
        central = own @ centre
        assert (np.diff(central) <= 1e-6).all()
        assert [document.id for document in each.representatives] == list(each.members[:2])


def test_what_is_like_nothing_is_in_no_community(tmp_path):
    rows, _ = around(2, 40, spread=0.4)
    alone = np.zeros((1, 256), dtype=np.float32)
    alone[0, 0] = 1
    with made(tmp_path / "index", np.vstack([rows, alone])) as index:
        report = cluster_documents(index, threshold=0.7)
    assert (len(report.clusters), report.unclustered) == (2, 1)
    assert all("d40" not in each.members for each in report.clusters)


def test_a_document_of_passages_is_as_their_mean(tmp_path):
    texts = {
        "a": "one two three four five six seven eight nine ten eleven twelve",
        "b": "one two three four five six seven eight nine ten eleven twelve",
        "c": "red blue green",
    }
    with SearchIndex.create(
        tmp_path / "index", encoder=HashEncoder(), long_texts="passages"
    ) as index:
        index.add([Document(name, text) for name, text in texts.items()])
        assert index.info().passages == 5
        (cluster,) = cluster_documents(index, threshold=0.9, min_size=2).clusters
    assert (cluster.members, cluster.cohesion) == (("a", "b"), 1.0)


def test_only_documents_that_pass_a_filter_are_clustered(tmp_path):
    rows, _ = around(2, 40, spread=0.4)
    with made(tmp_path / "index", rows) as index:
        report = cluster_documents(index, clusters=1, where="n < 7")
    assert report.documents == report.clusters[0].size == 7


@pytest.mark.parametrize("clusters", [None, 3])
def test_an_empty_index_has_no_clusters(tmp_path, clusters):
    with SearchIndex.create(tmp_path / "index", encoder=HashEncoder()) as index:
        report = cluster_documents(index, clusters=clusters)
    assert (report.documents, report.unclustered, report.clusters) == (0, 0, ())


def test_one_document_is_in_no_community_and_a_cluster_by_itself(tmp_path):
    with made(tmp_path / "index", np.ones((1, 256), dtype=np.float32)) as index:
        assert cluster_documents(index).unclustered == 1
        (cluster,) = cluster_documents(index, clusters=1).clusters
    assert (cluster.size, cluster.cohesion, cluster.members) == (1, 1.0, ("d0",))


def test_copies_make_fewer_clusters_than_were_asked_for(tmp_path):
    with made(tmp_path / "index", np.ones((8, 256), dtype=np.float32)) as index:
        report = cluster_documents(index, clusters=3)
    assert [each.size for each in report.clusters] == [8]


@pytest.mark.parametrize(
    ("wanted", "problem"),
    [
        ({"threshold": 1.5}, "threshold must be over 0"),
        ({"min_size": 1}, "min_size must be a whole number of 2 or more, got 1"),
        ({"clusters": 0}, "clusters must be a whole number of 1 or more, got 0"),
        ({"clusters": 6}, "5 documents cannot make 6 clusters"),
        ({"representatives": 0}, "representatives must be"),
    ],
)
def test_what_cannot_be_asked_is_refused(tmp_path, wanted, problem):
    rows, _ = around(2, 5, spread=0.4)
    with (
        made(tmp_path / "index", rows) as index,
        pytest.raises(InvalidInput, match=problem),
    ):
        cluster_documents(index, **wanted)


def test_terms_are_those_that_are_more_frequent_than_elsewhere():
    texts = ["the card", "the card is lost", "the cat", "the dog", "the bird", "the fish"]
    documents = [Document(str(n), text) for n, text in enumerate(texts)]
    background = Background(documents)
    # By hand: card is in both texts, and in (2 - 2 + 0.5) of the (6 - 2 + 1) others: 10 times as
    # often. Lost and is are in one of the two, which is too few.
    assert background.telling_terms(documents[:2], 5, part=2 / 6) == ("card",)
    # In the one text, and in (1 - 1 + 0.5) of (5 + 1) others: 12 times; card in 1.5 of 6: 4 times.
    assert background.telling_terms(documents[1:2], 5, part=1 / 6) == ("is", "lost", "card")
    assert background.telling_terms(documents[1:2], 2, part=1 / 6) == ("is", "lost")


def test_all_texts_have_no_word_that_tells_them_from_others():
    documents = [Document("a", "the cat"), Document("b", "the cat")]
    assert Background(documents).telling_terms(documents, 5, part=1.0) == ()


def test_centroids_need_as_many_vectors_and_numbers():
    with pytest.raises(InvalidInput, match=r"clusters must be 1\.\.2, got 3"):
        kmeans(np.eye(2, dtype=np.float32), 3, seed=0)
    assert kmeans(np.eye(2, dtype=np.float32), 2, seed=2**40 + 1).shape == (2, 2)
    with pytest.raises(InvalidInput, match="vectors must be finite"):
        kmeans(np.full((2, 4), np.nan, dtype=np.float32), 1, seed=0)
