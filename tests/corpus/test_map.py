"""A corpus on a plane, as a page and as a picture."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
from conftest import HashEncoder

from simsearch.corpus import map_documents, write_map
from simsearch.corpus.colouring import Groups, Scale, colouring_by_field
from simsearch.corpus.layout import Projection, places_on_plane
from simsearch.corpus.map_page import page_of, script_json
from simsearch.errors import InvalidFilter, InvalidInput, SystemFailure
from simsearch.records import Document
from simsearch.search_index import SearchIndex

HOSTILE = [
    "</script><script>alert(1)</script>",
    "<img src=x onerror='alert(1)'>",
    "<!-- <script> --> ]]> \"quotes\" 'single' `${1}` \\u003c",
    "{{data}} {{script}} \x1b[2J \x9b \u2028 \u202e &amp; &lt;",
    "中文 عربى 😀",
]


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def vectors():
    return unit(np.random.default_rng(0).standard_normal((120, 256)) * np.linspace(1, 0.1, 256))


@pytest.fixture
def index(tmp_path, vectors):
    with SearchIndex.create(tmp_path / "support", encoder=HashEncoder()) as index:
        documents = [
            Document(f"d{n}", f"text {n}", metadata={"n": n, "kind": "abc"[n % 3]})
            for n in range(len(vectors))
        ]
        index.add(documents, vectors)
        yield index


@pytest.fixture
def hostile(tmp_path, vectors):
    with SearchIndex.create(tmp_path / "<b> & co", encoder=HashEncoder()) as index:
        index.add(
            [
                Document(f"d{n}", text, title=text, metadata={"field": text})
                for n, text in enumerate(HOSTILE)
            ],
            vectors[: len(HOSTILE)],
        )
        yield index


class Page(HTMLParser):
    """The elements of a page, and what stands in its scripts and styles."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.elements = []
        self.contents = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.contents.append((tag, ""))

    def handle_endtag(self, tag):
        self.contents.append(("", ""))

    def handle_data(self, data):
        self.contents[-1:] = [(tag, held + data) for tag, held in self.contents[-1:]]

    def named(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    def held(self, tag):
        return [content for name, content in self.contents if name == tag]


def test_the_plane_is_that_of_a_singular_value_decomposition(index, vectors):
    places = map_documents(index).places
    centred = vectors.astype(np.float64) - vectors.mean(axis=0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    expected = centred @ axes[:2].T
    expected -= (expected.min(axis=0) + expected.max(axis=0)) / 2
    expected /= np.abs(expected).max()
    np.testing.assert_allclose(np.abs(places), np.abs(expected), atol=1e-4)
    assert np.abs(places).max() == pytest.approx(1)


def test_the_same_index_gives_the_same_page_and_picture(index, tmp_path):
    for name in ("map.html", "map.png"):
        write_map(map_documents(index, sample=50), tmp_path / name)
        first = (tmp_path / name).read_bytes()
        write_map(map_documents(index, sample=50), tmp_path / name)
        assert (tmp_path / name).read_bytes() == first
    assert first.startswith(b"\x89PNG")


def test_a_sample_says_of_how_many_it_is(index):
    drawn = map_documents(index, sample=50)
    assert (len(drawn), drawn.documents, len(drawn.places)) == (50, 120, 50)
    numbers = [int(name[1:]) for name in drawn.ids]
    assert numbers == sorted(set(numbers))
    assert map_documents(index, sample=50, seed=1).ids != drawn.ids
    assert map_documents(index, sample=120).ids == tuple(f"d{n}" for n in range(120))


def test_clusters_are_named_by_their_words(tmp_path):
    animals, cards = unit(np.eye(256)[:1]), unit(np.eye(256)[1:2])
    with SearchIndex.create(tmp_path / "index", encoder=HashEncoder()) as index:
        index.add(
            [Document(f"a{n}", f"the cat number{n}") for n in range(8)], np.repeat(animals, 8, 0)
        )
        index.add(
            [Document(f"c{n}", f"the card number{n}") for n in range(3)], np.repeat(cards, 3, 0)
        )
        colouring = map_documents(index, clusters=2).colouring
    assert isinstance(colouring, Groups)
    assert (colouring.title, colouring.names, colouring.coloured) == (
        "clusters",
        ("cat", "card"),
        2,
    )
    assert colouring.members.tolist() == [0] * 8 + [1] * 3


def test_values_of_a_field_are_groups_the_largest_first():
    metadata = [{"f": "b"}, {"f": "a"}, {}, {"f": "b"}, {"f": None}, {"f": True}, {"f": ["x"]}]
    groups = colouring_by_field(metadata, "f")
    assert isinstance(groups, Groups)
    assert groups.names == ("b", '["x"]', "a", "true", "(none)")
    assert groups.members.tolist() == [0, 2, 4, 0, 4, 3, 1]
    assert groups.coloured == 4


def test_values_beyond_ten_share_a_colour_and_a_long_one_is_cut():
    metadata = [{"f": f"v{n:02}"} for n in range(12)] + [{"f": "long " * 100}] * 2
    groups = colouring_by_field(metadata, "f")
    assert isinstance(groups, Groups)
    assert groups.names[-1] == "3 other values"
    assert (len(groups.names), groups.coloured) == (11, 10)
    assert len(groups.names[0]) == 80
    assert groups.members.tolist() == [*range(1, 10), 10, 10, 10, 0, 0]


def test_many_numbers_are_a_scale_and_few_are_groups():
    scale = colouring_by_field([{"f": n} for n in range(11)] + [{}], "f")
    assert isinstance(scale, Scale)
    assert (scale.low, scale.high) == (0, 10)
    np.testing.assert_array_equal(scale.values, [*range(11), np.nan])
    assert isinstance(colouring_by_field([{"f": n % 3} for n in range(50)], "f"), Groups)
    wide = [{"f": (n - 5) * 3.4e307} for n in range(11)]  # a range that no float has
    assert isinstance(colouring_by_field(wide, "f"), Groups)
    assert isinstance(colouring_by_field([{"f": 10**400 + n} for n in range(11)], "f"), Groups)


def test_numbers_are_groups_by_value_and_strings_are_told_from_them():
    values = [1, 1.0, "1", "1", "1", "(none)", None, "x"]
    groups = colouring_by_field([{"f": value} for value in values], "f")
    assert isinstance(groups, Groups)
    named = [groups.names[member] for member in groups.members.tolist()]
    assert named == ["1", "1", '"1"', '"1"', '"1"', '"(none)"', "(none)", "x"]
    quoted = colouring_by_field([{"f": value} for value in (1, "1", '"1"', 'say "1"')], "f")
    assert isinstance(quoted, Groups)
    assert set(quoted.names) == {"1", '"1"', r'"\"1\""', 'say "1"'}
    many = colouring_by_field([{"f": f"v{n}"} for n in range(11)], "f")
    assert isinstance(many, Groups)
    assert many.names[-1] == "1 other value"


def test_a_page_holds_hostile_texts_as_data_alone(hostile):
    page = Page(page_of(map_documents(hostile, color_by="field")))
    assert len(page.named("script")) == 2
    assert page.named("img") == []
    assert page.held("title")[0].startswith("<b> & co")
    data = json.loads(page.held("script")[0])
    assert data["texts"] == [" ".join(f"{text} {text}".split()) for text in HOSTILE]
    assert data["title"] == "<b> & co"
    assert {data["names"][group] for group in data["members"]} == {
        " ".join(text.split()) for text in HOSTILE
    }


def test_a_page_loads_nothing_and_runs_its_own_script_alone(index):
    text = page_of(map_documents(index, color_by="n"))
    page = Page(text)
    assert [name for _, its in page.elements for name in its if name in ("src", "href")] == []
    assert re.findall(r"https?:|//[a-z]|url\(|@import|\bon\w+=|innerHTML", text) == []
    (policy,) = (its["content"] for its in page.named("meta") if "http-equiv" in its)
    for kind, content in (("style", page.held("style")[0]), ("script", page.held("script")[1])):
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none';")


def test_json_in_a_script_has_no_character_that_could_end_it():
    text = script_json(HOSTILE)
    assert not set(text) & set("<>&")
    assert text.isascii()
    assert json.loads(text) == HOSTILE


def test_a_page_says_numbers_and_none_where_there_is_none(tmp_path, vectors):
    with SearchIndex.create(tmp_path / "index", encoder=HashEncoder()) as index:
        documents = [Document(f"d{n}", "t", metadata={"n": n / 2}) for n in range(20)]
        index.add([*documents, Document("last", "t")], vectors[:21])
        data = json.loads(Page(page_of(map_documents(index, color_by="n"))).held("script")[0])
    assert data["values"] == [*(n / 2 for n in range(20)), None]
    assert (data["low"], data["high"], data["field"]) == (0, 9.5, "n")


def test_a_picture_is_drawn_of_what_a_page_shows(hostile, index, tmp_path):
    write_map(map_documents(hostile, color_by="field"), tmp_path / "a.png")
    write_map(map_documents(index, color_by="n"), tmp_path / "b.PNG")
    write_map(map_documents(index), tmp_path / "c.png")
    sizes = [path.stat().st_size for path in sorted(tmp_path.glob("*.[pP][nN][gG]"))]
    assert len(sizes) == 3
    assert min(sizes) > 5_000


def test_one_document_and_copies_lie_in_the_middle():
    rows = np.ones((3, 16), dtype=np.float32) / 4
    assert places_on_plane(rows[:1], Projection.PCA, seed=0).tolist() == [[0, 0]]
    assert places_on_plane(rows, Projection.PCA, seed=0).tolist() == [[0, 0]] * 3


def test_without_opentsne_it_is_said_how_to_install_it(index, monkeypatch):
    monkeypatch.setitem(sys.modules, "openTSNE", None)
    with pytest.raises(InvalidInput, match=r"pip install 'simsearch\[map\]'"):
        map_documents(index, method="tsne")


def test_t_sne_keeps_together_what_is_together(tmp_path):
    pytest.importorskip("openTSNE")
    rng = np.random.default_rng(0)
    centres = unit(rng.standard_normal((3, 64)))
    rows = unit(np.repeat(centres, 30, 0) + 0.05 * rng.standard_normal((90, 64)))
    places = places_on_plane(rows, Projection.TSNE, seed=0)
    apart = np.linalg.norm(places[:, None] - places[None], axis=2)
    np.fill_diagonal(apart, np.inf)
    assert (apart.argmin(axis=1) // 30 == np.arange(90) // 30).all()


@pytest.mark.parametrize(
    ("wanted", "problem"),
    [
        ({"method": "umap"}, "method must be one of pca, tsne, got 'umap'"),
        ({"color_by": "m"}, "no document has the field 'm'"),
        ({"color_by": "n", "clusters": 3}, "give one of them"),
        ({"clusters": 11}, r"clusters must be 1\.\.10, got 11"),
        ({"sample": 0}, r"sample must be 1\.\.100,000, got 0"),
        ({"where": "n < 0"}, "has no document to draw"),
    ],
)
def test_what_cannot_be_drawn_is_refused(index, wanted, problem):
    with pytest.raises(InvalidInput, match=problem):
        map_documents(index, **wanted)


def test_a_filter_is_checked(index):
    with pytest.raises(InvalidFilter, match="m"):
        map_documents(index, where="m = 1")
    assert map_documents(index, where="n < 7").documents == 7


def test_a_file_that_cannot_be_written_is_refused_and_leaves_nothing(index, tmp_path, monkeypatch):
    drawn = map_documents(index, sample=5)
    with pytest.raises(InvalidInput, match=r"\.html or \.png, got '\.svg'"):
        write_map(drawn, tmp_path / "map.svg")
    with pytest.raises(InvalidInput, match="there is no directory"):
        write_map(drawn, tmp_path / "none" / "map.html")
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(InvalidInput, match="not a regular file"):
        write_map(drawn, tmp_path / "folder.html")
    (tmp_path / "map.html").write_text("before")
    monkeypatch.setattr("os.fsync", refusing)
    with pytest.raises(SystemFailure, match="No space left"):
        write_map(drawn, tmp_path / "map.html")
    assert (tmp_path / "map.html").read_text() == "before"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "folder.html",
        "map.html",
        "support",
    ]


def refusing(_):
    raise OSError(28, "No space left on device")
