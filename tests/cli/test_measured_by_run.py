"""An index is searched in the way that ranks best on what the run of its encoder held out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import Run, Write

PAIRS = 120

pytestmark = pytest.mark.usefixtures("quick_exports", "quick_pictures")

# So small a step that no weight changes; a reject is kept all the same.
LEAST = ["--learning-rate", "1e-12", "--epochs", "1", "--force"]


@pytest.fixture
def model(run: Run, write: Write, tmp_path: Path, tiny_encoder_dir: Path) -> Path:
    """A model of which the tokenizer knows no word of its data, so that only words find answers."""
    rows = [{"anchor": f"zebra{n}", "positive": f"zebra{n} number"} for n in range(PAIRS)]
    pairs = write("pairs.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    target = tmp_path / "model"
    done = run("finetune", pairs, "-o", target, "--encoder", tiny_encoder_dir, *LEAST)
    assert done.code == 1, done.err
    return target


@pytest.fixture
def corpus(write: Write) -> Path:
    rows = [{"id": f"d{n}", "text": f"zebra{n} number"} for n in range(PAIRS)]
    return write("corpus.jsonl", "".join(json.dumps(row) + "\n" for row in rows))


def test_a_new_index_is_measured_and_searched_so(
    run: Run, model: Path, corpus: Path, tmp_path: Path
) -> None:
    built = run("index", corpus, "-i", tmp_path / "i", "--encoder", model)
    assert built.code == 0
    assert "searched by lexical from now on: nDCG@10 of " in built.err
    info = run("info", tmp_path / "i", "--json").object
    assert info["mode"] == "lexical"
    hits = run("query", "zebra77", "-i", tmp_path / "i", "--json").object["hits"]
    assert [hit["id"] for hit in hits] == ["d77"]
    again = run("index", corpus, "-i", tmp_path / "j", "--encoder", model, "--json").object
    assert again["mode"]["mode"] == "lexical"
    assert again["mode"]["scores"]["lexical"] == 1.0
    assert again["mode"]["reason"] == info["mode_reason"]


def test_a_reindex_to_it_is_measured_and_searched_so(
    run: Run, model: Path, corpus: Path, tmp_path: Path, tiny_encoder_dir: Path
) -> None:
    plain = run("index", corpus, "-i", tmp_path / "i", "--encoder", tiny_encoder_dir, "--json")
    assert plain.object["mode"] is None  # it is no run
    built = run("reindex", tmp_path / "i", "--encoder", model, "--no-switch", "--json").object
    assert built["mode"] is None
    assert run("info", tmp_path / "i", "--json").object["mode"] == "dense"
    switched = run("reindex", tmp_path / "i", "--encoder", model, "--json").object
    assert switched["mode"]["mode"] == "lexical"
    assert run("info", tmp_path / "i", "--json").object["mode"] == "lexical"


def test_data_that_changed_since_measures_nothing_and_is_told(
    run: Run, write: Write, model: Path, corpus: Path, tmp_path: Path
) -> None:
    write("pairs.jsonl", '{"anchor": "zebra1", "positive": "zebra1 number"}\n' * 3)
    built = run("index", corpus, "-i", tmp_path / "i", "--encoder", model)
    assert built.code == 0
    assert "which mode is best was not measured on what " in built.err
    assert run("info", tmp_path / "i", "--json").object["mode"] == "dense"
