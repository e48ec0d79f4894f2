"""finetune --from-feedback."""

from __future__ import annotations

import itertools
import json
import tomllib
from pathlib import Path

import pytest
from command_line import Run, Write

from simsearch.encoder import Encoder
from simsearch.records import Document, Judgement
from simsearch.search_index import SearchIndex

pytestmark = pytest.mark.usefixtures("quick_exports", "quick_pictures")

WORDS = ["card", "cash", "bank", "order", "parcel", "phone", "screen", "password", "email"]
PAIRS = list(itertools.combinations(WORDS, 2))
NOTHING_LEARNT = ["--learning-rate", "1e-12", "--epochs", "1", "--batch-size", "16"]


@pytest.fixture
def judged(tmp_path: Path, tiny_encoder_dir: Path) -> Path:
    """Return an index of which 36 queries have a right document and a wrong one."""
    path = tmp_path / "judged"
    with SearchIndex.create(path, encoder=Encoder.load(tiny_encoder_dir)) as index:
        index.add(
            [Document(f"{a} {b}", f"where is the {a} and the {b}") for a, b in PAIRS]
            + [Document("gone", "a bird sings")]
        )
        index.judge_many(Judgement(f"my {a} {b}", f"{a} {b}", True) for a, b in PAIRS)
        index.judge_many(Judgement(f"my {a} {b}", "gone", False) for a, b in PAIRS)
        index.delete(["gone"])
    return path


def test_too_few_judgements_are_refused_in_one_line(run: Run, judged: Path) -> None:
    outcome = run("finetune", "--from-feedback", judged, "--dry-run", "--quiet")
    message = "36 queries have a document that was judged right, at least 50 are needed"
    assert message in outcome.refusal(3)


def test_a_model_is_trained_from_the_encoder_of_the_index(
    run: Run, judged: Path, tmp_path: Path, tiny_encoder_dir: Path, write: Write
) -> None:
    questions = [{"anchor": f"no {a} {b}", "positive": f"the {b} and the {a}"} for a, b in PAIRS]
    held_out = write("held-out.jsonl", "".join(json.dumps(each) + "\n" for each in questions))
    model = tmp_path / "model"
    arguments = ["--eval", held_out, "-o", model, *NOTHING_LEARNT]
    outcome = run("finetune", "--from-feedback", judged, *arguments)
    assert outcome.code == 1
    assert "72 judgements; 36 pairs of 36 queries, 0 texts known to be wrong" in outcome.err
    assert "left out: 36 of documents that were deleted" in outcome.err
    settings = tomllib.loads((model / "run" / "config.toml").read_text())
    assert settings["encoder"] == str(tiny_encoder_dir)
    assert settings["data"] == [str(judged)]


def test_judgements_are_learnt_beside_other_data(run: Run, judged: Path, write: Write) -> None:
    rows = [{"anchor": f"no {a} {b}", "positive": f"the {b} and the {a}"} for a, b in PAIRS]
    pairs = write("pairs.jsonl", "".join(json.dumps(each) + "\n" for each in rows))
    outcome = run("finetune", pairs, "--from-feedback", judged, "--dry-run", "--json")
    assert outcome.code == 0
    assert [each["name"] for each in outcome.objects] == ["pairs.jsonl", "judged"]
    assert [each["rows"] for each in outcome.objects] == [36, 36]


def test_without_judgements_one_line_says_so(run: Run, index_dir: Path) -> None:
    message = run("finetune", "--from-feedback", index_dir, "--dry-run").refusal(3)
    assert "no document that is there was judged right, of 0 judgements" in message
