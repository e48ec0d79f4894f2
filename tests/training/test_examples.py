from __future__ import annotations

import json
import random
from dataclasses import replace
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simsearch.errors import InvalidData, InvalidInput
from simsearch.formats import Example
from simsearch.records import (
    ClassPair,
    LabelledPair,
    LabelledText,
    Pair,
    ScoredPair,
    Span,
    TaggedText,
    Triplet,
)
from simsearch.search_index import RetrievalTask
from simsearch.training.examples import (
    KIND_NAMES,
    TrainingData,
    class_names,
    connected_components,
    fold,
    split_examples,
    texts_of,
    without_duplicates,
    without_leaks,
)
from simsearch.training.run_file import DataSource
from simsearch.training.sources import load_evaluation_data, load_training_data


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("  Hello,   WORLD! ", "hello world"),
        ("Straße", "strasse"),
        ("a_b-c", "a b c"),
        ("卡被吞了，怎么办？", "卡被吞了 怎么办"),
        ("?!", "?!"),
    ],
)
def test_fold_drops_what_makes_no_other_text(text, folded):
    assert fold(text) == folded


def test_examples_that_share_texts_are_connected_through_others():
    examples = [
        Pair("a", "x"),
        Pair("b", "y"),
        Pair("A!", "z"),
        Triplet("q", "Z", "w"),
        Pair("c", "v"),
    ]
    assert connected_components(examples) == [[0, 2, 3], [1], [4]]


texts = st.sampled_from([f"t{number}" for number in range(60)])
pairs = st.builds(Pair, texts, texts)


@given(st.lists(pairs, min_size=10, max_size=60), st.integers(0, 5))
def test_no_text_is_on_both_sides_of_a_split(examples, seed):
    # One example that shares nothing: something can always be held out.
    examples = [*examples, Pair("alone", "by itself")]
    training, held_out = split_examples(examples, share=0.2, limit=100, seed=seed)
    sides = [
        {fold(text) for row in side for text in texts_of(row)} for side in (training, held_out)
    ]
    assert sides[0] & sides[1] == set()
    assert sorted(map(repr, training + held_out)) == sorted(map(repr, examples))
    assert len(held_out) <= max(1, round(0.2 * len(examples)))


def test_the_held_out_side_has_its_share_and_its_limit():
    examples = [Pair(f"a{number}", f"b{number}") for number in range(100)]
    assert len(split_examples(examples, share=0.2, limit=500, seed=0)[1]) == 20
    assert len(split_examples(examples, share=0.2, limit=7, seed=0)[1]) == 7
    assert split_examples(examples, share=0.2, limit=7, seed=0) == split_examples(
        examples, share=0.2, limit=7, seed=0
    )
    assert (
        split_examples(examples, share=0.2, limit=7, seed=0)[1]
        != split_examples(examples, share=0.2, limit=7, seed=1)[1]
    )


def test_data_that_is_all_connected_cannot_be_split():
    examples = [Pair("the same question", f"answer {number}") for number in range(20)]
    with pytest.raises(InvalidData, match=r"20 of them are connected.*--eval"):
        split_examples(examples, share=0.2, limit=100, seed=0)


@pytest.mark.parametrize("seed", range(5))
def test_a_negative_that_answers_another_row_connects_nothing_and_leaks_nothing(seed):
    rng = random.Random(seed)
    rows = [
        Triplet(f"question {n}", f"answer {n}", f"answer {(n + rng.randrange(1, 120)) % 120}")
        for n in range(120)
    ]
    training, held_out = split_examples(rows, share=0.2, limit=500, seed=seed)
    assert len(held_out) == 24
    training = without_leaks(training, held_out)
    judged = {text for row in held_out for text in (row.anchor, row.positive)}
    kept = [row for row in rows if judged.isdisjoint((row.anchor, row.positive, row.negative))]
    assert training == kept
    assert len(kept) > 60


@pytest.mark.parametrize("seed", range(20))
def test_rare_labels_are_on_both_sides(seed):
    rows = [LabelledPair(f"first {n}", f"second {n}", int(n < 4)) for n in range(100)]
    for side in split_examples(rows, share=0.2, limit=500, seed=seed):
        assert {row.label for row in side} == {0, 1}


def test_a_vowel_sign_makes_another_word_and_a_composed_accent_does_not():
    assert fold("दिन") != fold("दान")
    assert fold("Cafe\u0301!") == fold("café") == "café"


def test_planted_leaks_are_taken_out_of_training():
    training = [Pair("How do I pay?", "x"), Pair("b", "y"), Pair("c", "HOW do i pay")]
    assert without_leaks(training, [Pair("how do I pay", "z")]) == [Pair("b", "y")]
    assert without_leaks(training, [Pair("z", "B!")], [Pair("X", "z")]) == [training[2]]


def test_of_a_retrieval_task_only_the_queries_are_leaks():
    from simsearch.records import Document

    task = RetrievalTask({"q": "Who?"}, [Document("d", "corpus text")], {"q": {"d": 1}})
    examples = [Pair("who", "me"), Pair("other", "corpus text")]
    assert without_leaks(examples, task) == examples[1:]


def test_equal_examples_are_dropped_and_counted():
    assert without_duplicates([Pair("a", "b"), Pair("c", "d"), Pair("a", "b")]) == (
        [Pair("a", "b"), Pair("c", "d")],
        1,
    )


def test_each_kind_of_example_has_a_name():
    assert set(KIND_NAMES) == set(get_args(Example))


def test_examples_of_several_kinds_are_refused():
    data = TrainingData([Pair("a", "b"), ScoredPair("a", "b", 1.0)])
    with pytest.raises(InvalidData, match="one kind, got pairs, scored pairs"):
        _ = data.kind
    with pytest.raises(InvalidData, match="got none"):
        _ = TrainingData([]).kind
    assert TrainingData([LabelledPair("a", "b", 1)]).kind is LabelledPair


@pytest.fixture
def beir(tmp_path):
    folder = tmp_path / "set"
    (folder / "qrels").mkdir(parents=True)
    rows = [{"_id": "d1", "title": "Cats", "text": "sit"}, {"_id": "d2", "text": "dogs run"}]
    (folder / "corpus.jsonl").write_text("\n".join(map(json.dumps, rows)))
    queries = [{"_id": "q1", "text": "who sits"}, {"_id": "q2", "text": "who runs"}]
    (folder / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)))
    head = "query-id\tcorpus-id\tscore\n"
    (folder / "qrels" / "train.tsv").write_text(head + "q1\td1\t1\nq1\td2\t0\n")
    (folder / "qrels" / "test.tsv").write_text(head + "q2\td2\t1\n")
    return folder


def test_a_beir_split_becomes_pairs_and_its_corpus_distractors(beir):
    (data,) = load_training_data([DataSource(beir)])
    assert data.examples == [Pair("who sits", "Cats sit")]
    assert list(data.distractors) == ["Cats sit", "dogs run"]


def test_a_beir_folder_is_evaluation_data(beir):
    task = load_evaluation_data(beir)
    assert isinstance(task, RetrievalTask)
    assert dict(task.queries) == {"q2": "who runs"}


def test_a_folder_that_is_no_beir_folder_is_refused(tmp_path, beir):
    with pytest.raises(InvalidInput, match="not a BEIR folder"):
        load_training_data([DataSource(tmp_path)])


def write_jsonl(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return DataSource(path)


def test_files_of_one_kind_are_one_data_set(tmp_path):
    sources = [
        write_jsonl(tmp_path / f"{name}.jsonl", {"anchor": name, "positive": "p"})
        for name in ("one", "two")
    ]
    (data,) = load_training_data(sources)
    assert data.examples == [Pair("one", "p"), Pair("two", "p")]
    assert (data.name, data.objective) == ("", "auto")


def test_files_of_several_kinds_and_folders_are_a_data_set_each(tmp_path, beir):
    pairs = write_jsonl(tmp_path / "pairs.jsonl", {"anchor": "a", "positive": "p"})
    scored = write_jsonl(tmp_path / "sts.jsonl", {"sentence1": "a", "sentence2": "b", "score": 1.5})
    named = replace(pairs, objective="triplet-softmax")
    sets = load_training_data([pairs, scored, named, DataSource(beir)])
    assert [(data.name, data.kind, data.objective) for data in sets] == [
        ("pairs.jsonl", Pair, "auto"),
        ("sts.jsonl", ScoredPair, "auto"),
        ("pairs.jsonl", Pair, "triplet-softmax"),
        (beir.name, Pair, "auto"),
    ]


def test_entities_are_read_where_the_objective_is_tags(tmp_path):
    conll = tmp_path / "train.conll"
    conll.write_text("Acme B-ORG\nsued O\n", encoding="utf-8")
    texts = write_jsonl(tmp_path / "intents.jsonl", {"text": "a", "label": "x"})
    sets = load_training_data(
        [
            DataSource(conll, objective="tags", weight=0.5),
            replace(texts, objective="classes", field="intent"),
            replace(texts, objective="classes", field="mood"),
        ]
    )
    assert [(data.kind, data.weight, data.field) for data in sets] == [
        (TaggedText, 0.5, ""),
        (LabelledText, None, "intent"),
        (LabelledText, None, "mood"),
    ]
    found = load_evaluation_data(conll, objective="tags")
    assert found == sets[0].examples == [TaggedText("Acme sued", (Span(0, 4, "ORG"),))]
    for objective in ("auto", "classes"):
        with pytest.raises(InvalidData, match="CoNLL holds entities, which the objective `tags`"):
            load_training_data([DataSource(conll, objective=objective)])


def test_pairs_of_classes_are_one_data_set_whatever_the_classes_of_a_file_are_called(tmp_path):
    row = {"sentence1": "a", "sentence2": "b"}
    sources = [
        write_jsonl(tmp_path / "one.jsonl", {**row, "label": 1}),
        write_jsonl(tmp_path / "two.jsonl", {**row, "label": 2}),
    ]
    (data,) = load_training_data(sources)
    assert data.examples == [ClassPair("a", "b", "1"), ClassPair("a", "b", "2")]


@pytest.mark.parametrize("seed", range(5))
def test_who_learns_names_of_classes_sees_each_of_them(seed):
    rows = [LabelledText(f"text {n}", f"class {n % 60}") for n in range(120)]
    rows.append(LabelledText("the only one", "single"))
    options = {"share": 0.2, "limit": 500, "seed": seed}
    training, held_out = split_examples(rows, **options, keep_classes=True)
    assert class_names(training) == class_names(rows)
    assert len(held_out) == 24
    assert split_examples(rows, **options, keep_classes=True) == (training, held_out)
