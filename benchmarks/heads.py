"""Heads on a frozen encoder, each beside a named peer in the same run.

    python benchmarks/heads.py classes     banking77, beside scikit-learn on sentence-transformers'
                                           embeddings
    python benchmarks/heads.py shots       the same with 8 texts a class
    python benchmarks/heads.py scope       30 texts of each of 62 intents; the other 15 are rejected
    python benchmarks/heads.py entities NAME   a CoNLL set, beside transformers' recipe
    python benchmarks/heads.py tuned NAME  the encoder tuned for one head (of banking77 or CoNLL),
                                           beside the same head on the base
    python benchmarks/heads.py joint NAME  scored pairs (--pairs, by default stsb), classes
                                           (banking77) and entities (NAME) train one encoder,
                                           beside each alone; --forgetting 0.99 mixes no weights
    python benchmarks/heads.py filters NAME    an index of the test sets, filtered by what heads
                                           found, beside the gold
    python benchmarks/heads.py pass        embedding, class and entities in one pass, beside
                                           embedding alone, and beside three passes

With --train N and --test N so many texts are taken: the first, or from all over the file
(banking77, stsb).
Data: ../shared/data or $SIMSEARCH_TEST_DATA. Seconds are of CPU time.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

import simsearch
from simsearch.encoder import Encoder
from simsearch.encoder.runtime import IntArray
from simsearch.evaluation import score_spans
from simsearch.formats import read_examples, read_labelled_texts, read_tagged_texts
from simsearch.heads import (
    Annotator,
    ClassifierConfig,
    Head,
    TaggerConfig,
    score_classifier,
    score_scope,
    span_calibration_error,
    tag_texts,
    train_classifier,
    train_tagger,
)
from simsearch.heads.words import spans_of_tags, split_words, tags_of_spans
from simsearch.records import Document, LabelledText, Span, TaggedText
from simsearch.search_index import AnnotatingEncoder, SearchIndex
from simsearch.training import (
    FinetuneResult,
    TrainingConfig,
    TrainingData,
    before_after_table,
    finetune,
    tasks_table,
)

DATA = Path(os.environ.get("SIMSEARCH_TEST_DATA") or Path(__file__).parents[2] / "shared" / "data")
ROUNDS = 7
_HELD_OUT = 500  # texts of each task that judge joint training, beside those that train
_SIDES = ("train", "test")

T = TypeVar("T")


def classes(train: int | None, test: int | None, shots: int | None) -> None:
    """Print accuracy and time of ours and of scikit-learn's on the library's embeddings."""
    from sentence_transformers import SentenceTransformer
    from sklearn.linear_model import LogisticRegression

    texts = read_labelled_texts(DATA / "banking77" / "train.jsonl").texts[:train]
    gold = read_labelled_texts(DATA / "banking77" / "test.jsonl").texts
    gold = gold[:: max(1, len(gold) // test)] if test else gold
    known = {label for text in texts for label in text.labels}
    gold = [text for text in gold if text.labels[0] in known]
    encoder = Encoder.load()
    began = time.process_time()
    head = train_classifier(texts, encoder, config=ClassifierConfig(shots=shots)).head
    ours = time.process_time() - began
    predicted = head.classify(encoder.encode([text.text for text in gold]))
    print("ours", f"{ours:.1f} s", score_classifier(head, gold, predicted).metrics)
    if shots is not None:
        return
    model = SentenceTransformer(str(encoder.directory), device="cpu")
    began = time.process_time()
    embeddings = model.encode([text.text for text in texts], normalize_embeddings=True)
    peer = LogisticRegression(C=10, max_iter=1000)
    peer.fit(embeddings, [text.labels[0] for text in texts])
    theirs = time.process_time() - began
    found = peer.predict(model.encode([text.text for text in gold], normalize_embeddings=True))
    right = np.mean([each == text.labels[0] for each, text in zip(found, gold, strict=True)])
    print("sentence-transformers and scikit-learn", f"{theirs:.1f} s", f"accuracy {right:.4f}")


def scope(test: int | None) -> None:
    """Print how well texts of every fifth intent are rejected, which no text trained."""
    texts = read_labelled_texts(DATA / "banking77" / "train.jsonl").texts
    gold = _spread(list(read_labelled_texts(DATA / "banking77" / "test.jsonl").texts), test)
    outside = set(sorted({text.labels[0] for text in texts})[4::5])
    encoder = Encoder.load()
    known = [text for text in texts if text.labels[0] not in outside]
    for seed in range(3):
        config = ClassifierConfig(shots=30, seed=seed)
        head = train_classifier(known, encoder, config=config).head
        sides = [
            head.classify(encoder.encode([text.text for text in gold if side(text)]))
            for side in (
                lambda text: text.labels[0] not in outside,
                lambda text: text.labels[0] in outside,
            )
        ]
        print(f"{len(outside)} intents left out, seed {seed}:", score_scope(*sides))


def entities(name: str, train: int | None, test: int | None, layers: str, peer: bool) -> None:
    """Print span F1 and time of training, of ours and of fine-tuning for token classification."""
    _warm_up()
    texts = read_tagged_texts(DATA / name / "train.conll")[:train]
    gold = read_tagged_texts(DATA / name / "test.conll")[:test]
    encoder = Encoder.load()
    right = [text.spans for text in gold]
    ours = {}
    for calibrate in (False, True):
        began = time.process_time()
        config = TaggerConfig(layers=layers, calibrate=calibrate)
        head = train_tagger(texts, encoder, config=config).head
        ours[calibrate] = time.process_time() - began
        found = tag_texts(head, encoder, [text.text for text in gold])
        f1 = _f1(gold, [[span.span for span in each] for each in found])
        print(
            f"ours, {layers}, {'calibrated' if calibrate else 'not calibrated'}",
            f"{ours[calibrate]:.1f} s, span F1 {f1:.4f},",
            f"calibration error {span_calibration_error(right, found):.4f}",
            flush=True,
        )
    if peer:
        spans, theirs = fine_tuned(texts, gold, str(encoder.directory), list(head.labels))
        print("token classification", f"{theirs:.1f} s", f"span F1 {_f1(gold, spans):.4f}")
        print(f"of their time: {ours[False] / theirs:.3f}, calibrated {ours[True] / theirs:.3f}")


def _warm_up() -> None:
    """Take one step of an optimizer: what torch imports for it is in neither side's time."""
    import torch

    weight = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.AdamW([weight])
    torch.autograd.backward(weight.sum())
    optimizer.step()


def _f1(gold: list[TaggedText], found: list[list[Span]]) -> float:
    return score_spans([text.spans for text in gold], found).f1


def fine_tuned(
    texts: list[TaggedText], gold: list[TaggedText], model_dir: str, labels: list[str]
) -> tuple[list[list[Span]], float]:
    """Return the spans that transformers' recipe finds, and in how many seconds it was trained.

    3 epochs, batch 16, 5e-5, linear decay. The first piece of a word has its tag, other pieces
    none.
    """
    import torch
    from transformers import AutoModelForTokenClassification, AutoTokenizer

    began = time.process_time()
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(model_dir)
    tags = 1 + 2 * len(labels)
    model = AutoModelForTokenClassification.from_pretrained(model_dir, num_labels=tags)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-5)
    steps = 3 * -(-len(texts) // 16)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)

    def encoded(part: list[TaggedText]) -> tuple[list[IntArray], Any]:
        words = [split_words(text.text) for text in part]
        tokens = [
            [text.text[slice(*word)] for word in own.tolist()]
            for text, own in zip(part, words, strict=True)
        ]
        batch = tokenizer(
            tokens, is_split_into_words=True, truncation=True, padding=True, max_length=256,
            return_tensors="pt",
        )  # fmt: skip
        return words, batch

    model.train()
    for _ in range(3):
        order = torch.randperm(len(texts)).tolist()
        for start in range(0, len(order), 16):
            part = [texts[position] for position in order[start : start + 16]]
            words, batch = encoded(part)
            target = torch.full(batch["input_ids"].shape, -100)
            for row, (text, own) in enumerate(zip(part, words, strict=True)):
                right = tags_of_spans(text.spans, own, labels).tags
                for place, word in enumerate(batch.word_ids(row)):
                    if word is not None and word != batch.word_ids(row)[place - 1]:
                        target[row, place] = int(right[word])
            model(**batch, labels=target).loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
    seconds = time.process_time() - began
    model.eval()
    results = []
    for text in gold:
        words, batch = encoded([text])
        with torch.inference_mode():
            best = model(**batch).logits[0].argmax(-1).tolist()
        found = np.zeros(len(words[0]), dtype=np.int64)
        for place, word in reversed(list(enumerate(batch.word_ids(0)))):
            if word is not None:
                found[word] = best[place]
        before = 0
        for position, tag in enumerate(found.tolist()):  # an I that goes on with nothing begins
            if tag and tag % 2 == 0 and before not in (tag, tag - 1):
                found[position] = tag - 1
            before = int(found[position])
        results.append(spans_of_tags(found, words[0], labels))
    return results, seconds


def tuned(name: str, train: int | None, test: int | None, epochs: int | None, adapt: str) -> None:
    """Print the score of a head on the base, and of one on an encoder tuned for it."""
    data, gold = _task(name, train, test)
    config = TrainingConfig(adapt=adapt, epochs=epochs, max_forgetting=0.99)
    with tempfile.TemporaryDirectory() as folder:
        result = finetune(
            data, Path(folder) / "model", evaluation=gold, config=config, force=True, say=_say
        )
    _print_result(result)


def joint(name: str, pairs_name: str, train: int | None, config: TrainingConfig) -> None:
    """Print each task before, alone and jointly; pairs are judged on the test set of theirs.

    Classes and entities on texts that are held out besides those that train.
    """
    pairs = _spread(list(read_examples(DATA / pairs_name / "train.jsonl")), train)
    gold = list(read_examples(DATA / pairs_name / "test.jsonl"))
    count = None if train is None else train + _HELD_OUT
    tasks = [_task(each, count, 1)[0] for each in ("banking77", name)]
    if count is not None:
        config = replace(config, held_out=_HELD_OUT / count, held_out_limit=_HELD_OUT)
    with tempfile.TemporaryDirectory() as folder:
        result = finetune(
            [TrainingData(pairs, name=pairs_name), *tasks],
            Path(folder) / "model",
            evaluation=gold,
            config=config,
            force=True,
            say=_say,
        )
    _print_result(result)
    print(result.forgetting)
    for row in tasks_table(result):
        print(" | ".join(row))


def _task(
    name: str, train: int | None, test: int | None
) -> tuple[TrainingData, Sequence[LabelledText] | Sequence[TaggedText]]:
    if name == "banking77":
        read = [
            [LabelledText(each.text, each.labels[0]) for each in part.texts]
            for part in (read_labelled_texts(DATA / name / f"{side}.jsonl") for side in _SIDES)
        ]
        return TrainingData(_spread(read[0], train), name=name, objective="classes"), _spread(
            read[1], test
        )
    tagged = [read_tagged_texts(DATA / name / f"{side}.conll") for side in _SIDES]
    return TrainingData(tagged[0][:train], name=name, objective="tags"), tagged[1][:test]


def _spread(texts: Sequence[T], count: int | None) -> Sequence[T]:
    """Return so many of the texts, from all of them: they lie sorted by class, or by source."""
    return texts if count is None else texts[:: max(1, len(texts) // count)][:count]


def _say(line: str) -> None:
    print(f"# {line}", flush=True)


def _print_result(result: FinetuneResult) -> None:
    for row in before_after_table(result.before, result.after, result.difference):
        print(" | ".join(row))
    print(f"training {result.training_seconds} s of {result.seconds} s, {result.steps} steps")


def one_pass(test: int | None) -> None:
    """Print the time of embedding, class and entities over that of embedding alone.

    And how much quicker one pass is than three: one for each of them, by the same runtime.
    """
    encoder = Encoder.load()
    labelled = read_labelled_texts(DATA / "banking77" / "train.jsonl").texts
    topics = train_classifier(labelled, encoder, config=ClassifierConfig(shots=4, scope=False))
    tagged = read_tagged_texts(DATA / "crossner_politics" / "train.conll")
    tagger = train_tagger(tagged, encoder, config=TaggerConfig(epochs=1))
    texts = [each.text for each in read_tagged_texts(DATA / "crossner_politics" / "test.conll")]
    texts = texts[:test]
    annotator = Annotator([topics.head, tagger.head], encoder)
    over_alone, gain = [], []
    for _ in range(ROUNDS):  # in turn, so that what else the machine does falls on all
        began = time.process_time()
        encoder.encode_documents(texts)
        alone = time.process_time() - began
        list(annotator.annotate(texts))
        once = time.process_time() - began - alone
        topics.head.classify(encoder.encode_documents(texts))
        tag_texts(tagger.head, encoder, texts)
        thrice = alone + time.process_time() - began - alone - once
        over_alone.append(once / alone)
        gain.append(thrice / once)
    _print_ratios("one pass / embedding alone", over_alone)
    _print_ratios("three passes / one pass", gain)


def _print_ratios(what: str, ratios: list[float]) -> None:
    shown = ", ".join(f"{ratio:.3f}" for ratio in sorted(ratios))
    print(f"{what}, CPU time: median {statistics.median(ratios):.3f} ({shown})")


def filters(name: str, train: int | None, test: int | None) -> None:
    """Print precision and recall of filters on labels and entities that heads have predicted.

    For every intent, and the hundred entities that most texts mention.
    """
    encoder = Encoder.load()
    labelled = read_labelled_texts(DATA / "banking77" / "train.jsonl").texts
    asked = read_labelled_texts(DATA / "banking77" / "test.jsonl").texts[:test]
    topics = train_classifier(labelled, encoder, config=ClassifierConfig(scope=False)).head
    right = {(f"label = '{each.labels[0]}'", number) for number, each in enumerate(asked)}
    _print_filters("labels", topics, encoder, [each.text for each in asked], right)
    tagged = read_tagged_texts(DATA / name / "train.conll")[:train]
    gold = read_tagged_texts(DATA / name / "test.conll")[:test]
    tagger = train_tagger(tagged, encoder).head
    mentions = {
        (_contains(span.label, each.text[span.start : span.end]), number)
        for number, each in enumerate(gold)
        for span in each.spans
    }
    common = Counter(where for where, _ in mentions).most_common(100)
    right = {each for each in mentions if each[0] in dict(common)}
    _print_filters("entities", tagger, encoder, [each.text for each in gold], right)


def _contains(label: str, mention: str) -> str:
    quoted = mention.replace("'", "''")
    return f"entities.{label} contains '{quoted}'"


def _print_filters(
    what: str, head: Head, encoder: Encoder, texts: list[str], right: set[tuple[str, int]]
) -> None:
    annotating = AnnotatingEncoder(Annotator([head], encoder))
    found = set()
    with (
        tempfile.TemporaryDirectory() as folder,
        SearchIndex.create(Path(folder) / "index", encoder=annotating) as index,
    ):
        write = annotating.writing(index.add)
        write([Document(str(number), text) for number, text in enumerate(texts)])
        vector = encoder.encode_queries(["any"])
        known = {name for each in index.iterate() for name in each.metadata}
        for where in sorted({where for where, _ in right}):
            if where.split()[0] in known:  # a label that nothing was given is no field
                hits = index.search_vectors(vector, k=len(texts), where=where)[0]
                found |= {(where, int(hit.id)) for hit in hits}
    both = len(found & right)
    print(
        f"{what}: {len({where for where, _ in right})} filters on {len(texts):,} texts, "
        f"precision {both / max(1, len(found)):.4f}, recall {both / len(right):.4f}"
    )


def main() -> None:
    """Run one part."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parts = ("classes", "shots", "scope", "entities", "tuned", "joint", "filters", "pass")
    parser.add_argument("part", choices=parts)
    parser.add_argument("name", nargs="?", default="crossner_politics")
    parser.add_argument("--train", type=int)
    parser.add_argument("--test", type=int)
    parser.add_argument("--layers", default="concatenated")
    parser.add_argument("--no-peer", action="store_true")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--adapt", default="full")
    parser.add_argument("--pairs", default="stsb")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--forgetting", type=float, default=TrainingConfig().max_forgetting)
    asked = parser.parse_args()
    print(f"simsearch {simsearch.__version__}")
    if asked.part == "entities":
        entities(asked.name, asked.train, asked.test, asked.layers, not asked.no_peer)
    elif asked.part == "tuned":
        tuned(asked.name, asked.train, asked.test, asked.epochs, asked.adapt)
    elif asked.part == "filters":
        filters(asked.name, asked.train, asked.test)
    elif asked.part == "joint":
        config = TrainingConfig(
            epochs=asked.epochs, seed=asked.seed, max_forgetting=asked.forgetting
        )
        joint(asked.name, asked.pairs, asked.train, config)
    elif asked.part == "scope":
        scope(asked.test)
    elif asked.part == "pass":
        one_pass(asked.test)
    else:
        classes(asked.train, asked.test, 8 if asked.part == "shots" else None)


if __name__ == "__main__":
    main()
