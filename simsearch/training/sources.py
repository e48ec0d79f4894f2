"""Where training examples come from: files, BEIR folders, the judgements of an index."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace as with_changes
from pathlib import Path

from simsearch.errors import InvalidData, InvalidInput
from simsearch.formats import (
    Example,
    ReadOptions,
    is_beir,
    read_beir,
    read_examples,
    read_tagged_texts,
)
from simsearch.records import ClassPair, Pair
from simsearch.search_index import RetrievalTask, is_index
from simsearch.training.config import AUTO, TAGS
from simsearch.training.examples import TrainingData, as_one_kind, with_classes
from simsearch.training.feedback import Feedback, read_feedback
from simsearch.training.run_file import DataSource


def load_training_data(
    sources: Sequence[DataSource],
    *,
    options: ReadOptions | None = None,
    on_reject: Callable[[InvalidData], None] | None = None,
    on_feedback: Callable[[Feedback], None] = lambda feedback: None,
) -> list[TrainingData]:
    """Read example files, BEIR folders whose judged pairs of a split become examples, and indexes.

    Of an index the judgements are read; `on_feedback` is told what they are. Files with examples of
    one kind and the same objective, weight and field are one data set, each folder is one; in the
    order of their first sources. Entities are read where the objective is `tags`.
    """
    read: list[tuple[DataSource, Sequence[Example]]] = [
        (
            source,
            []
            if source.path.is_dir()
            else _examples_of(source.path, source.objective, options, on_reject),
        )
        for source in sources
    ]
    found: list[TrainingData] = []
    taken: set[object] = set()
    for source, _ in read:
        if source.path.is_dir():
            found.append(_from_folder(source, on_feedback))
        elif source.settings not in taken:
            taken.add(source.settings)
            same = [each for each in read if each[0].settings == source.settings and each[1]]
            found += _by_kind(same)
    return found if len(found) > 1 else [with_changes(data, name="") for data in found]


def _examples_of(
    path: Path,
    objective: str,
    options: ReadOptions | None,
    on_reject: Callable[[InvalidData], None] | None = None,
) -> Sequence[Example]:
    read = read_tagged_texts if objective == TAGS else read_examples
    return list(read(path, options or ReadOptions(), on_reject=on_reject))


def _by_kind(read: Sequence[tuple[DataSource, Sequence[Example]]]) -> list[TrainingData]:
    """Return the examples of files with the same settings as one data set for each kind.

    It is named by its files.
    """
    members: defaultdict[type[Example], list[Example]] = defaultdict(list)
    names: defaultdict[type[Example], list[str]] = defaultdict(list)
    has_classes = any(isinstance(e, ClassPair) for _, examples in read for e in examples)
    for source, examples in read:
        own = with_classes(examples) if has_classes else examples
        if own:
            members[type(own[0])] += own
            names[type(own[0])].append(source.path.name)
    source = read[0][0]
    return [
        TrainingData(
            examples,
            name=" + ".join(names[kind]),
            objective=source.objective,
            weight=source.weight,
            field=source.field,
        )
        for kind, examples in members.items()
    ]


def _from_folder(source: DataSource, on_feedback: Callable[[Feedback], None]) -> TrainingData:
    if is_beir(source.path):
        return _from_beir(source)
    if not is_index(source.path):
        raise InvalidInput(
            f"{source.path} is a directory but not a BEIR folder (corpus.jsonl, queries.jsonl, "
            "qrels/), and no index"
        )
    feedback = read_feedback(source.path)
    on_feedback(feedback)
    return TrainingData(
        feedback.pairs,
        distractors=feedback.texts,
        name=source.path.name,
        objective=source.objective,
        weight=source.weight,
        negatives=feedback.negatives,
    )


def _from_beir(source: DataSource) -> TrainingData:
    beir = read_beir(source.path, source.split)
    contents = {document.id: document.content for document in beir.corpus}
    pairs = [
        Pair(anchor=beir.queries[query_id], positive=contents[document_id])
        for query_id, judged in beir.qrels.items()
        for document_id, gain in judged.items()
        if gain > 0 and document_id in contents and query_id in beir.queries
    ]
    return TrainingData(
        pairs,
        distractors=list(contents.values()),
        name=source.path.name,
        objective=source.objective,
        weight=source.weight,
    )


def load_evaluation_data(
    path: Path,
    *,
    split: str = "test",
    options: ReadOptions | None = None,
    objective: str = AUTO,
) -> Sequence[Example] | RetrievalTask:
    """Read held-out data: a BEIR folder, or a file of examples for an objective."""
    if path.is_dir():
        beir = read_beir(path, split)
        return RetrievalTask(beir.queries, beir.corpus, beir.qrels, name=f"{path.name}/{split}")
    return as_one_kind(_examples_of(path, objective, options))
