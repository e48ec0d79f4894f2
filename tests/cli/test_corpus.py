"""similar, duplicates: the commands about a corpus."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from command_line import Run

from simsearch.ann import PairFinder
from simsearch.records import Document
from simsearch.search_index import SearchIndex


@pytest.fixture
def twins(index_dir: Path) -> Path:
    """Return an index in which `cat` has a copy, and a document that drives terminals."""
    with SearchIndex.open(index_dir) as index:
        index.add([Document("copy", "the cat sat on the mat", metadata={"lang": "de"})])
    return index_dir


@pytest.fixture
def empty(index_dir: Path, tmp_path: Path) -> Path:
    path = shutil.copytree(index_dir, tmp_path / "empty")
    with SearchIndex.open(path) as index:
        index.delete(["card", "parcel", "cat"])
    return path


def test_similar_prints_what_query_does_and_leaves_out_the_document(run: Run, twins: Path) -> None:
    outcome = run("similar", "cat", "-i", twins, "--json")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.object["query"] == "cat"
    first, *others = outcome.object["hits"]
    asked = run("query", "cat", "-i", twins, "--json").object["hits"]
    (same,) = (hit for hit in asked if hit["id"] == "copy")
    assert first.keys() == same.keys()
    assert (first["id"], first["text"]) == ("copy", "the cat sat on the mat")
    assert first["score"] == pytest.approx(1.0, abs=1e-6)
    assert {hit["id"] for hit in others} == {"card", "parcel"}


def test_similar_obeys_k_and_where(run: Run, twins: Path) -> None:
    outcome = run("similar", "cat", "-i", twins, "-k", "1", "--where", "lang = 'en'")
    assert outcome.out.splitlines()[0].split()[-1] == "card"
    assert len(outcome.out.splitlines()) == 2


def test_similar_refuses_an_unknown_id(run: Run, index_dir: Path) -> None:
    outcome = run("similar", "dog", "-i", index_dir)
    assert outcome.refusal(2) == (
        "no document has the id 'dog' (take the id of a hit, or of the corpus)"
    )


def test_similar_of_the_only_document_finds_none(run: Run, index_dir: Path) -> None:
    with SearchIndex.open(index_dir) as index:
        index.delete(["card", "parcel"])
    outcome = run("similar", "cat", "-i", index_dir)
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "there is no other document\n")


@pytest.mark.parametrize("way", [(), ("-i",)], ids=["argument", "option"])
def test_duplicates_prints_what_to_keep_and_what_says_the_same(
    run: Run, twins: Path, way: tuple[str, ...]
) -> None:
    outcome = run("duplicates", *way, twins, "--json")
    assert outcome.code == 0
    assert outcome.object == {"kept": "cat", "duplicates": [{"id": "copy", "similarity": 1.0}]}
    shown = run("duplicates", *way, twins)
    assert shown.out.splitlines() == [
        "keep    cat  the cat sat on the mat",
        "1.0000  copy  the cat sat on the mat",
    ]
    assert shown.err == (
        "1 of 4 documents say what another says, in 1 group (1 pair with a similarity of 0.95 "
        "or more)\n"
    )


def test_duplicates_prints_pairs(run: Run, twins: Path) -> None:
    outcome = run("duplicates", twins, "--pairs", "--json", "--quiet")
    assert outcome.object == {"first": "cat", "second": "copy", "similarity": 1.0}
    assert outcome.err == ""
    assert run("duplicates", twins, "--pairs").out == "1.0000  cat  copy\n"


def test_no_duplicates_are_an_answer(run: Run, index_dir: Path) -> None:
    outcome = run("duplicates", index_dir, "--threshold", "1", "--json")
    assert (outcome.code, outcome.out) == (0, "")


def test_an_empty_index_has_no_duplicates_and_says_so(run: Run, empty: Path) -> None:
    outcome = run("duplicates", empty)
    assert (outcome.code, outcome.out) == (0, "")
    assert outcome.err.splitlines()[0] == "the index is empty"


def test_an_interrupted_comparison_changes_nothing(
    run: Run, twins: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    before = {path: path.read_bytes() for path in sorted(twins.rglob("*")) if path.is_file()}
    monkeypatch.setattr(PairFinder, "all_pairs", interrupted)
    assert run("duplicates", twins).refusal(130) == "interrupted"
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize("threshold", ["0", "1.5", "nan", "-1"])
def test_a_threshold_out_of_range_is_refused(run: Run, index_dir: Path, threshold: str) -> None:
    outcome = run("duplicates", index_dir, "--threshold", threshold)
    message = f"threshold must be over 0 and at most 1, got {float(threshold)}"
    assert outcome.refusal(2) == message


def test_a_threshold_that_is_no_number_is_refused(run: Run, index_dir: Path) -> None:
    assert run("duplicates", index_dir, "--threshold", "high").code == 2


@pytest.mark.parametrize("arguments", [(), ("here", "-i", "there")], ids=["none", "two"])
def test_one_index_is_to_be_named(run: Run, arguments: tuple[str, ...]) -> None:
    assert run("duplicates", *arguments).refusal(2) == (
        "name one index directory, as INDEX_DIR or with -i"
    )


@pytest.mark.parametrize("command", [("similar", "x", "-i"), ("duplicates",)])
def test_a_place_without_an_index_is_refused(
    run: Run, tmp_path: Path, command: tuple[str, ...]
) -> None:
    message = run(*command, tmp_path / "none").refusal(2)
    assert str(tmp_path / "none") in message


def test_what_a_document_says_does_nothing_to_a_terminal(run: Run, index_dir: Path) -> None:
    with SearchIndex.open(index_dir) as index:
        evil = "the cat \x1b[2J sat on \u202e the mat"
        rows = np.ones((2, 32), dtype=np.float32)
        index.add([Document("one", evil), Document("two", evil)], rows)
    outcome = run("duplicates", index_dir, "--threshold", "0.999")
    assert "two  the cat [2J sat on the mat" in outcome.out
    assert "\x1b" not in outcome.out


@pytest.mark.parametrize("command", [("similar", "cat", "-i"), ("duplicates",)])
def test_no_training_library_is_imported(twins: Path, command: tuple[str, ...]) -> None:
    script = (
        "import sys\nfrom simsearch.cli import main\ncode = main(sys.argv[1:])\n"
        "print(code, {'torch', 'sklearn', 'transformers'} & sys.modules.keys())"
    )
    finished = subprocess.run(
        [sys.executable, "-c", script, *command, str(twins)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert finished.stdout.splitlines()[-1] == "0 set()"


def test_cluster_prints_groups_with_their_middle(run: Run, twins: Path) -> None:
    outcome = run("cluster", twins, "--threshold", "0.999", "--min-size", "2", "--json")
    assert outcome.code == 0
    assert outcome.object == {
        "cluster": 1,
        "size": 2,
        "cohesion": 1.0,
        "terms": ["cat", "mat", "on", "sat"],
        "representatives": [
            {"id": "cat", "text": "the cat sat on the mat"},
            {"id": "copy", "text": "the cat sat on the mat"},
        ],
        "members": ["cat", "copy"],
    }
    assert outcome.err == "1 cluster of 4 documents; 2 are in none\n"
    shown = run("cluster", "-i", twins, "--threshold", "0.999", "--min-size", "2", "--quiet")
    assert shown.out.splitlines() == [
        "  1  2 documents, cohesion 1.00: cat, mat, on, sat",
        "       cat  the cat sat on the mat",
        "       copy  the cat sat on the mat",
    ]


def test_cluster_makes_as_many_as_are_asked_for(run: Run, twins: Path) -> None:
    outcome = run("cluster", twins, "--clusters", "2", "--json")
    assert sorted(id_ for each in outcome.objects for id_ in each["members"]) == [
        "card",
        "cat",
        "copy",
        "parcel",
    ]
    assert len(outcome.objects) == 2
    assert run("cluster", twins, "--clusters", "5").refusal(2) == (
        "4 documents cannot make 5 clusters"
    )


def test_cluster_refuses_options_of_two_methods(run: Run, twins: Path) -> None:
    outcome = run("cluster", twins, "--clusters", "2", "--threshold", "0.5")
    assert outcome.refusal(2) == "--clusters goes without --threshold and --min-size"


@pytest.mark.parametrize("more", [(), ("--clusters", "3")])
def test_an_empty_index_has_no_clusters(run: Run, empty: Path, more: tuple[str, ...]) -> None:
    outcome = run("cluster", empty, *more)
    assert (outcome.code, outcome.out) == (0, "")
    assert outcome.err.splitlines() == [
        "the index is empty",
        "0 clusters of 0 documents; 0 are in none",
    ]


@pytest.mark.parametrize("name", ["map.html", "map.png"])
def test_map_writes_a_file_and_replaces_it(
    run: Run, twins: Path, tmp_path: Path, name: str
) -> None:
    target = tmp_path / name
    target.write_text("before")
    outcome = run("map", twins, "-o", target, "--json")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.object == {
        "output": str(target),
        "documents": 4,
        "drawn": 4,
        "method": "pca",
        "color_by": "clusters",
    }
    assert target.read_bytes()[:4] in (b"<!DO", b"\x89PNG")
    assert run("map", "-i", twins, "-o", target).out == (
        f"wrote a map of 4 documents to {target}\n"
    )


def test_map_says_that_it_draws_a_sample(run: Run, twins: Path, tmp_path: Path) -> None:
    outcome = run("map", twins, "-o", tmp_path / "map.html", "--sample", "3", "--color-by", "lang")
    assert outcome.err == "a random sample of 3 of 4 documents is drawn\n"
    assert "3 of 4" not in outcome.out


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("-o", "map.pdf"), "map.pdf: a map is written as .html or .png, got '.pdf'"),
        (("-o", "none/map.html"), "none/map.html: there is no directory none"),
        (("-o", "map.html", "--color-by", "star"), "no document has the field 'star'"),
        (("-o", "map.html", "--where", "lang = 'fr'"), "has no document to draw"),
    ],
)
def test_map_refuses_what_it_cannot_draw(
    run: Run,
    twins: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    problem: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert problem in run("map", twins, *arguments).refusal(2)
    assert not (tmp_path / "map.html").exists()


def test_map_of_an_empty_index_is_refused(run: Run, empty: Path, tmp_path: Path) -> None:
    outcome = run("map", empty, "-o", tmp_path / "map.html", "--quiet")
    assert outcome.refusal(2) == f"{empty} has no document to draw"
