"""Where training examples come from: files, BEIR folders, the judgements of an index."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from dataclasses import replace as with_changes
from pathlib import Path

from simsearch.encoder import reading_of
from simsearch.errors import InvalidData, InvalidInput
from simsearch.formats import (
    Example,
    ReadOptions,
    Reads,
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
from simsearch.training.run_file import DataSource, RunSettings


def load_run_data(
    settings: RunSettings,
    *,
    options: ReadOptions | None = None,
    on_reject: Callable[[InvalidData], None] | None = None,
    on_feedback: Callable[[Feedback], None] = lambda feedback: None,
) -> tuple[list[TrainingData], Sequence[Example] | RetrievalTask | None]:
    """Read what a run trains on, as `load_training_data` does, and what is to judge it, if named.

    Raises:
        InvalidData: no example is left to train on.
    """
    reads = reading_of(settings.encoder)
    sets = load_training_data(
        settings.data, options=options, on_reject=on_reject, on_feedback=on_feedback, reads=reads
    )
    if not sets:
        raise InvalidData("no training example is left: all rows were skipped")
    if settings.evaluation is None:
        return sets, None
    return sets, load_evaluation_data(
        settings.evaluation,
        split=settings.eval_split,
        options=options,
        objective=sets[0].objective,
        reads=reads,
    )


def load_training_data(
    sources: Sequence[DataSource],
    *,
    options: ReadOptions | None = None,
    on_reject: Callable[[InvalidData], None] | None = None,
    on_feedback: Callable[[Feedback], None] = lambda feedback: None,
    reads: Reads | None = None,
) -> list[TrainingData]:
    """Read example files, BEIR folders whose judged pairs of a split become examples, and indexes.

    Of an index the judgements are read; `on_feedback` is told what they are. Files with examples of
    one kind and the same objective, weight and field are one data set, each folder is one; in the
    order of their first sources. Entities are read where the objective is `tags`. A text of which
    an encoder `reads` nothing is as bad as a blank one.
    """
    read = [
        _FileExamples(source, [], [])
        if source.path.is_dir()
        else _read_file(source, options, on_reject, reads)
        for source in sources
    ]
    found: list[TrainingData] = []
    taken: set[object] = set()
    for source in sources:
        if source.path.is_dir():
            found.append(_from_folder(source, on_feedback, reads))
        elif source.settings not in taken:
            taken.add(source.settings)
            same = [e for e in read if e.source.settings == source.settings and e.examples]
            found += _by_kind(same)
    return found if len(found) > 1 else [with_changes(data, name="") for data in found]


@dataclass(frozen=True, slots=True)
class _FileExamples:
    """The examples of one file, and FILE:LINE of each."""

    source: DataSource
    examples: Sequence[Example]
    places: list[str]


def _read_file(
    source: DataSource,
    options: ReadOptions | None = None,
    on_reject: Callable[[InvalidData], None] | None = None,
    reads: Reads | None = None,
) -> _FileExamples:
    read = read_tagged_texts if source.objective == TAGS else read_examples
    if read is read_examples and ".conll" in source.path.suffixes:
        raise InvalidData(f"{source.path}: CoNLL holds entities, which the objective `tags` learns")
    places: list[str] = []
    options = options or ReadOptions()
    found = read(source.path, options, on_reject=on_reject, reads=reads, places=places)
    return _FileExamples(source, list(found), places)


def _by_kind(files: Sequence[_FileExamples]) -> list[TrainingData]:
    """Return the examples of files with the same settings as one data set for each kind.

    It is named by its files.
    """
    members: defaultdict[type[Example], list[Example]] = defaultdict(list)
    names: defaultdict[type[Example], list[str]] = defaultdict(list)
    places: defaultdict[type[Example], list[str]] = defaultdict(list)
    has_classes = any(isinstance(e, ClassPair) for file in files for e in file.examples)
    for file in files:
        own = with_classes(file.examples) if has_classes else file.examples
        kind = type(own[0])
        members[kind] += own
        places[kind] += file.places
        names[kind].append(file.source.path.name)
    return [
        TrainingData(
            examples,
            name=" + ".join(names[kind]),
            objective=files[0].source.objective,
            weight=files[0].source.weight,
            field=files[0].source.field,
            places=places[kind],
        )
        for kind, examples in members.items()
    ]


def _from_folder(
    source: DataSource, on_feedback: Callable[[Feedback], None], reads: Reads | None
) -> TrainingData:
    if is_beir(source.path):
        return _from_beir(source, reads)
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


def _from_beir(source: DataSource, reads: Reads | None) -> TrainingData:
    beir = read_beir(source.path, source.split, reads=reads)
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
    reads: Reads | None = None,
) -> Sequence[Example] | RetrievalTask:
    """Read held-out data: a BEIR folder, or a file of examples for an objective.

    A text of which an encoder `reads` nothing is as bad as a blank one.
    """
    if path.is_dir():
        beir = read_beir(path, split, reads=reads)
        return RetrievalTask(beir.queries, beir.corpus, beir.qrels, name=f"{path.name}/{split}")
    source = DataSource(path, objective=objective)
    return as_one_kind(_read_file(source, options, reads=reads).examples)
