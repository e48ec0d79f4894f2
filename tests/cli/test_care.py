"""What the command line takes care of: unfinished indexes, other people's files, other ids."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import DOCUMENTS, Run, Write, as_jsonl

from simsearch.search_index import SearchIndex


@pytest.fixture
def unfinished(tmp_path: Path, tiny_encoder_dir: Path) -> Path:
    """Return an index whose corpus was not loaded to the end."""
    path = tmp_path / "unfinished"
    with SearchIndex.create(path, encoder=tiny_encoder_dir, finished=False) as index:
        index.add(DOCUMENTS[:1])
    return path


@pytest.mark.parametrize("command", ["add", "upsert"])
def test_an_unfinished_index_is_not_added_to(
    run: Run, write: Write, unfinished: Path, command: str
) -> None:
    outcome = run(command, write("more.jsonl", as_jsonl(DOCUMENTS[1:])), "-i", unfinished)
    assert outcome.refusal(2) == (
        f"{unfinished} is unfinished (run `simsearch index` again to finish it)"
    )


def test_an_unfinished_index_answers_with_a_warning(run: Run, unfinished: Path) -> None:
    outcome = run("query", "card", "-i", unfinished, "--json")
    assert [hit["id"] for hit in outcome.object["hits"]] == ["card"]
    assert "is unfinished: its corpus was not loaded to the end" in outcome.err


def test_what_a_run_over_another_corpus_left_is_removed_and_counted(
    run: Run, write: Write, unfinished: Path, tiny_encoder_dir: Path
) -> None:
    corpus = write("corpus.jsonl", as_jsonl(DOCUMENTS[1:]))
    outcome = run("index", corpus, "-i", unfinished, "--encoder", tiny_encoder_dir)
    assert outcome.code == 0
    assert "1 of them are not in this corpus, and were removed" in outcome.err
    assert run("info", unfinished, "--json").object["documents"] == 2


@pytest.mark.parametrize("replace", [[], ["--replace"]])
def test_a_folder_of_something_else_is_never_replaced(
    run: Run, write: Write, tmp_path: Path, tiny_encoder_dir: Path, replace: list[str]
) -> None:
    write("src/main.py", "print()")
    corpus = write("corpus.jsonl", as_jsonl(DOCUMENTS))
    target = tmp_path / "src"
    outcome = run("index", corpus, "-i", target, "--encoder", tiny_encoder_dir, *replace)
    assert outcome.refusal(2) == f"{target} exists and is no index, which is never replaced"
    assert (target / "main.py").read_text() == "print()"


def test_embeddings_are_not_written_to_a_device(run: Run, tiny_encoder_dir: Path) -> None:
    outcome = run("encode", "a text", "--encoder", tiny_encoder_dir, "-o", "/dev/null")
    assert outcome.refusal(2) == "/dev/null is not a regular file, and is not replaced"
    assert Path("/dev/null").is_char_device()


def test_an_index_of_other_ids_is_not_scored_as_zero(
    run: Run, write: Write, index_dir: Path, tmp_path: Path
) -> None:
    write("set/corpus.jsonl", json.dumps({"_id": "other", "text": "a text"}))
    write("set/queries.jsonl", json.dumps({"_id": "q", "text": "a question"}))
    write("set/qrels/test.tsv", "query-id\tcorpus-id\tscore\nq\tother\t1\n")
    outcome = run("evaluate", "retrieval", tmp_path / "set", "-i", index_dir)
    assert "holds no judged document" in outcome.refusal(3)


def test_a_report_of_somebody_else_is_not_overwritten(
    run: Run, write: Write, tmp_path: Path
) -> None:
    write("report.md", "# Quarterly figures\n")
    outcome = run("demo", "--quick", "--out", tmp_path)
    assert "is no report of ours" in outcome.refusal(2)
    assert (tmp_path / "report.md").read_text() == "# Quarterly figures\n"


def test_options_for_documents_are_not_taken_for_pairs(run: Run, write: Write) -> None:
    pairs = write("pairs.csv", "sentence1,sentence2,score\na,b,1\nc,d,2\n")
    assert "No such option" in run("evaluate", "sts", pairs, "--id-field", "x").refusal(2)


def test_a_request_that_cannot_be_is_refused_before_torch_is_imported(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").write_text("x")
    places = [str(tmp_path / "taken"), str(tmp_path / "new")]
    script = (
        "import sys\nfrom simsearch.cli import main\n"
        f"codes = [main(['finetune', 'nowhere.jsonl', '-o', place]) for place in {places}]\n"
        "print(codes, 'torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[2, 2] False\n"
