"""The examples run, do what they say, and carry data that simsearch's own readers accept."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import re
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import simsearch

EXAMPLES = Path(__file__).parents[2] / "examples"
SUPPORT, CHINESE, NOTES = (
    EXAMPLES / name for name in ("support_tickets", "chinese_faq", "embedded_app")
)


def load(example: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"example_{example.name}", example / "run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@dataclass(frozen=True)
class Run:
    """One example, run to its end."""

    out: Path
    printed: str
    returned: Any

    @property
    def lines(self) -> list[str]:
        return self.printed.splitlines()


def run(example: Path, out: Path, encoder: str | None = None) -> Run:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        returned = load(example).main(out, encoder)
    return Run(out, printed.getvalue(), returned)


@pytest.fixture(scope="module")
def support_run(tmp_path_factory: pytest.TempPathFactory, tiny_encoder_dir: Path) -> Run:
    return run(SUPPORT, tmp_path_factory.mktemp("support"), str(tiny_encoder_dir))


@pytest.fixture(scope="module")
def chinese_run(tmp_path_factory: pytest.TempPathFactory, tiny_encoder_dir: Path) -> Run:
    return run(CHINESE, tmp_path_factory.mktemp("chinese"), str(tiny_encoder_dir))


@pytest.fixture(scope="module")
def notes_run(tmp_path_factory: pytest.TempPathFactory, tiny_encoder_dir: Path) -> Run:
    return run(NOTES, tmp_path_factory.mktemp("notes"), str(tiny_encoder_dir))


@pytest.fixture(scope="module")
def tuned_support_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return the support example with the real default encoder at default settings."""
    return run(SUPPORT, tmp_path_factory.mktemp("support_tuned"))


# The data


@pytest.fixture(scope="module")
def articles() -> list[simsearch.Document]:
    return list(simsearch.read_corpus([SUPPORT / "corpus.jsonl"]))


@pytest.fixture(scope="module")
def pairs() -> list[Any]:
    return list(simsearch.read_examples(SUPPORT / "pairs.jsonl"))


@pytest.fixture(scope="module")
def entries() -> list[simsearch.Document]:
    return list(simsearch.read_corpus([CHINESE / "faq.jsonl"]))


def test_every_article_has_an_id_of_its_own_a_text_a_product_and_a_language(articles):
    assert len(articles) == len({article.id for article in articles}) == 127
    assert all(article.text.strip() for article in articles)
    assert all(set(article.metadata) == {"product", "lang"} for article in articles)


def test_every_pair_has_two_texts_and_leads_to_an_article(articles, pairs):
    texts = {article.text for article in articles}
    assert len(pairs) == 416
    assert {type(pair) for pair in pairs} == {simsearch.Pair}
    assert all(pair.anchor.strip() for pair in pairs)
    assert {pair.positive for pair in pairs} == texts


def test_no_anchor_leads_to_two_articles(pairs):
    anchors = [" ".join(re.findall(r"\w+", pair.anchor.casefold())) for pair in pairs]
    assert len(set(anchors)) == len(pairs)


def test_questions_of_the_support_example_were_not_trained_on(articles, pairs):
    questions = load(SUPPORT).QUESTIONS
    assert set(questions.values()) <= {article.id for article in articles}
    assert not set(questions) & {pair.anchor for pair in pairs}


def test_every_faq_entry_has_an_id_of_its_own_a_question_and_an_answer(entries):
    assert len(entries) == len({entry.id for entry in entries}) == 60
    assert all(entry.title and entry.text.strip() for entry in entries)


def test_questions_of_the_chinese_example_are_in_other_words_than_the_entries(entries):
    questions = load(CHINESE).QUESTIONS
    assert set(questions.values()) <= {entry.id for entry in entries}
    assert not set(questions) & {entry.title for entry in entries}


# support_tickets


def test_support_example_indexes_every_article(support_run, articles):
    with simsearch.SearchIndex.open(support_run.out / "index") as index:
        assert {document.id for document in index.iterate()} == {a.id for a in articles}


def test_support_example_prints_the_verdict_that_finetune_gave(support_run):
    assert f"verdict: {support_run.returned.verdict}" in support_run.lines


def test_support_example_prints_every_metric_before_and_after(support_run):
    result = support_run.returned
    for metric in ("ndcg@10", "mrr@10", "recall@10"):
        figures = f"{result.before[metric]:.4f} -> {result.after[metric]:.4f}"
        assert re.search(f"^{metric} +{figures}", support_run.printed, re.MULTILINE)


def test_support_example_leaves_the_report_of_the_run(support_run):
    report = (support_run.out / "model" / "run" / "report.md").read_text(encoding="utf-8")
    assert f"verdict: {support_run.returned.verdict}" in report


def test_support_example_indexes_with_the_encoder_that_the_verdict_chose(
    support_run, tiny_encoder_dir
):
    encoders = {
        simsearch.Verdict.KEEP: support_run.out / "model",
        simsearch.Verdict.REJECT: tiny_encoder_dir,
    }
    chosen = simsearch.Encoder.load(encoders[support_run.returned.verdict])
    with simsearch.SearchIndex.open(support_run.out / "index") as index:
        assert index.info().fingerprint == chosen.fingerprint


def test_support_example_prints_three_hits_and_two_ranks_for_every_question(support_run):
    for question, wanted in load(SUPPORT).QUESTIONS.items():
        start = support_run.lines.index(question)
        hits, ranks = support_run.lines[start + 1 : start + 4], support_run.lines[start + 4]
        assert all(re.match(r"    -?\d\.\d{3}  [a-z-]+: ", hit) for hit in hits)
        assert re.fullmatch(rf"    {wanted}: rank \d+ -> \d+", ranks)


def test_support_example_refuses_a_folder_that_holds_a_run(support_run, tiny_encoder_dir):
    with pytest.raises(simsearch.AlreadyExists, match="index-before exists already"):
        load(SUPPORT).main(support_run.out, str(tiny_encoder_dir))


# chinese_faq


def test_chinese_example_indexes_every_entry(chinese_run, entries):
    with simsearch.SearchIndex.open(chinese_run.out / "index") as index:
        assert {document.id for document in index.iterate()} == {e.id for e in entries}


def test_chinese_example_warns_of_an_encoder_that_knows_no_chinese(chinese_run, tiny_encoder_dir):
    assert f"encoder {tiny_encoder_dir}: 100% of the tokens are unknown to it" in chinese_run.lines
    assert "WARNING: this encoder was not made for Chinese" in chinese_run.printed


def test_chinese_example_prints_three_hits_for_every_question_and_counts_the_right_ones(
    chinese_run, entries
):
    titles = {entry.id: entry.title for entry in entries}
    right = 0
    for question, wanted in load(CHINESE).QUESTIONS.items():
        (start,) = (n for n, line in enumerate(chinese_run.lines) if line[2:] == question)
        hits = [line.split(maxsplit=2) for line in chinese_run.lines[start + 1 : start + 4]]
        assert [title for _, _, title in hits] == [titles[entry_id] for _, entry_id, _ in hits]
        assert (hits[0][1] == wanted) is chinese_run.lines[start].startswith("✓")
        right += hits[0][1] == wanted
    assert chinese_run.returned == right
    assert chinese_run.lines[-1] == f"{right} of 10 questions found their entry first"


def test_an_unknown_encoder_ends_the_script_with_one_line():
    ended = subprocess.run(
        [sys.executable, CHINESE / "run.py", "./no-such-encoder"], capture_output=True, text=True
    )
    assert ended.returncode == 1
    assert ended.stderr == "error: there is no encoder directory at ./no-such-encoder\n"


# embedded_app


@pytest.fixture
def notebook(tmp_path: Path, tiny_encoder_dir: Path):
    with load(NOTES).Notebook(tmp_path / "notes", encoder=str(tiny_encoder_dir)) as notebook:
        notebook.add("cat", "the cat sat on the mat")
        notebook.add("dog", "the dog sat on the mat")
        notebook.add("bill", "please pay the bill")
        yield notebook


def test_deleted_note_never_comes_back(notes_run):
    with simsearch.SearchIndex.open(notes_run.out / "notes") as index:
        assert index.get("roof") is None
        assert "roof" not in [hit.id for hit in index.search("water through the roof", k=100)]
    after = notes_run.printed.split("with 'roof' gone")[1]
    assert "roof:" not in after


def test_deleting_a_note_twice_finds_it_once(notes_run):
    assert "deleted 'roof': True, once more: False" in notes_run.lines


def test_edited_note_is_there_once_with_its_new_text(notes_run):
    with simsearch.SearchIndex.open(notes_run.out / "notes") as index:
        texts = [hit.text for hit in index.search("dentist", k=100) if hit.id == "dentist"]
    assert texts == ["The dentist moved the appointment to Friday at three."]


def test_a_refused_note_is_reported_and_changes_nothing(notes_run):
    assert "refused 'bike': id 'bike' is in the index already (use upsert to replace)" in (
        notes_run.lines
    )
    assert "refused 'blank': document 0: the document is empty" in notes_run.printed
    with simsearch.SearchIndex.open(notes_run.out / "notes") as index:
        assert index.get("blank") is None
        bike = index.get("bike")
    assert bike is not None
    assert bike.text.startswith("The bicycle chain jumps")


def test_a_searching_thread_sees_whole_lists_while_another_writes_them(notes_run):
    (line,) = (line for line in notes_run.lines if "half a list seen" in line)
    assert re.fullmatch(r"[1-9]\d* searches while 5 lists were written; half a list seen: 0", line)


def test_notes_are_there_when_the_notebook_is_opened_again(notes_run):
    assert notes_run.lines[-1] == f"opened again: 19 notes in {notes_run.out / 'notes'}"


def test_watch_counts_a_list_that_is_there_in_part():
    hits = [SimpleNamespace(id="week 0, 0"), SimpleNamespace(id="week 0, 1")]
    told = threading.Event()
    told.set()
    fake = SimpleNamespace(find=lambda query, k: hits)
    assert load(NOTES).watch(fake, told) == (1, 1)


def test_a_note_is_not_related_to_itself(notebook):
    assert {hit.id for hit in notebook.related("cat")} == {"dog", "bill"}


def test_nothing_is_related_to_an_unknown_note(notebook):
    assert notebook.related("bird") == []


def test_related_returns_at_most_k_notes(notebook):
    assert len(notebook.related("cat", k=1)) == 1


def test_adding_a_note_twice_raises_and_keeps_the_first(notebook):
    with pytest.raises(simsearch.DuplicateId, match="'cat' is in the index already"):
        notebook.add("cat", "another cat")
    assert "the cat sat on the mat" in [hit.text for hit in notebook.find("cat")]


# Quality, with the real default encoder


@pytest.mark.slow
def test_support_example_keeps_the_encoder_that_it_tuned(tuned_support_run):
    result = tuned_support_run.returned
    assert result.verdict is simsearch.Verdict.KEEP
    assert "verdict: keep" in tuned_support_run.lines
    assert result.difference["ndcg@10"].low > 0.1


@pytest.mark.slow
def test_tuned_encoder_finds_the_article_that_the_untuned_one_buries(tuned_support_run):
    question = "the shop refused my card"
    places = {}
    for name in ("index-before", "index"):
        with simsearch.SearchIndex.open(tuned_support_run.out / name) as index:
            places[name] = [hit.id for hit in index.search(question, k=127)].index(
                "plume-turned-away"
            )
    assert places["index-before"] >= 5
    assert places["index"] == 0


@pytest.mark.slow
def test_default_encoder_relates_the_leaking_gutter_to_the_dripping_roof(tmp_path):
    printed = run(NOTES, tmp_path).printed
    related = printed.split("related to 'gutter'\n")[1].splitlines()
    assert "roof: Water drips through the attic roof" in related[0]


@pytest.mark.slow
def test_default_encoder_says_that_it_is_blind_to_chinese_and_is(tmp_path):
    finished = run(CHINESE, tmp_path)
    assert "66% of the tokens are unknown to it" in finished.printed
    assert "WARNING: this encoder was not made for Chinese" in finished.printed
    assert finished.returned <= 2
