"""From texts with spans to a tagger: the encoder reads them once, the head is trained on that.

The encoder stays as it is, so an index built with it stays valid, and a pass over the training
texts costs only the head. A head of its own, trained without a part of the texts, tells how good it
is on others and how probable its spans are.
"""

from __future__ import annotations

import itertools
import logging
import math
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from simsearch.encoder import Encoder, EncodingCounts
from simsearch.encoder.runtime import FloatArray, IntArray
from simsearch.errors import InvalidData
from simsearch.heads.folds import BoolArray, equal_texts, stratified_folds
from simsearch.heads.head_file import EncoderReference
from simsearch.heads.tagger import WORDS_AT_ONCE, Tagger, flat_places, word_parts
from simsearch.heads.tagger_calibration import UnseenTexts, fit_span_temperature, score_unseen
from simsearch.heads.tagger_config import Layers, TaggerConfig
from simsearch.heads.tagger_inputs import HalfArray, TaggerInputs, fit_inputs
from simsearch.heads.tagger_words import READ_AT_ONCE, Progress, TrainingWords, read_words
from simsearch.heads.word_vectors import read_texts
from simsearch.heads.words import tags_of_spans, word_shapes
from simsearch.records import Span, TaggedText
from simsearch.wording import counted

if TYPE_CHECKING:
    import torch

logger = logging.getLogger("simsearch")

_WARM_UP = 0.1
_LONGEST_NORM = 1.0
_FOLDS = 5
_LEAST_SPANS = 100  # to fit one number, the temperature, to


@dataclass(frozen=True, slots=True, eq=False)
class TaggerTraining:
    """A trained tagger, what it was trained on, and the loss of every step, per word.

    `metrics` are its scores (`score_unseen`) on texts that were left out, empty where none was.
    `cut_spans` did not begin and end with a word, and were widened; `lost_spans` lie within a word
    that another span has, and taught nothing.
    """

    head: Tagger
    texts: int
    words: int
    spans: int
    cut_spans: int
    lost_spans: int
    losses: list[float]
    metrics: dict[str, float]


def train_tagger(
    texts: Sequence[TaggedText],
    encoder: Encoder,
    *,
    config: TaggerConfig | None = None,
    calibration: Sequence[TaggedText] = (),
    counts: EncodingCounts | None = None,
    reading: Progress | None = None,
    training: Progress | None = None,
) -> TaggerTraining:
    """Train a tagger on a frozen encoder; the labels are in order of their names.

    `calibration` are texts that the encoder was not tuned on, where it was tuned on the others:
    probabilities and scores are theirs, in the place of texts left out, which would all look known;
    both only with `config.calibrate`.
    `reading` is called with texts read, `training` with steps done, each with how many there are.

    Raises:
        InvalidData: no text has a span, one ends beyond its text, or the loss is not a number.
    """
    config = config or TaggerConfig()
    for text in texts:
        if any(span.end > len(text.text) for span in text.spans):
            raise InvalidData(f"a span of {text.text[:40]!r} ends beyond the text")
    labels = sorted({span.label for text in texts for span in text.spans})
    if not labels:
        raise InvalidData(f"none of the {len(texts):,} texts has a span; a tagger needs one")
    with tempfile.TemporaryFile(prefix="simsearch-") as file:
        data = read_words(texts, labels, encoder, file, counts, reading)
        if data.cut:
            logger.info(
                "%s not begin and end with a word: widened",
                counted(data.cut, "span does", "spans do"),
            )
        _warn_of_lost(texts, data.lost)
        reference = EncoderReference.of(encoder)
        fitting = _Fitting(data, reference, labels, config)
        folds: list[BoolArray] = []
        if config.calibrate and not calibration:
            folds = fitting.folds(equal_texts([text.text for text in texts]))
        head, losses, unseen = fitting.run(folds, training)
    if calibration and config.calibrate:
        unseen = [_read_unseen(head, calibration, encoder)]
    temperature = fit_span_temperature(unseen)
    metrics = score_unseen(unseen, temperature) if any(part.best for part in unseen) else {}
    spans = sum(len(text.spans) for text in texts)
    return TaggerTraining(
        head.softened(temperature),
        len(texts),
        len(data.tags),
        spans,
        data.cut,
        len(data.lost),
        losses,
        metrics,
    )


def _read_unseen(head: Tagger, texts: Sequence[TaggedText], encoder: Encoder) -> UnseenTexts:
    """Read texts that are no part of the training; what has a label unknown to it is no span."""
    known = set(head.labels)
    emissions: list[FloatArray] = []
    tags: list[IntArray] = []
    for start in range(0, len(texts), READ_AT_ONCE):
        part = texts[start : start + READ_AT_ONCE]
        readings = read_texts(encoder, [text.text for text in part])
        filled = [
            (text, reading)
            for text, reading in zip(part, readings, strict=True)
            if len(reading.words)
        ]
        emissions += head.emissions(
            [reading.vectors for _, reading in filled],
            [word_shapes(text.text, reading.words) for text, reading in filled],
        )
        for text, reading in filled:
            spans = [span for span in text.spans if span.label in known]
            tags.append(tags_of_spans(spans, reading.words, head.labels).tags)
    return UnseenTexts.of(head.chain, emissions, tags)


def _warn_of_lost(texts: Sequence[TaggedText], lost: Sequence[Span]) -> None:
    """Tell of spans that have no word of their own, and of labels that have no other spans."""
    if not lost:
        return
    have = Counter(span.label for text in texts for span in text.spans)
    gone = Counter(span.label for span in lost)
    never = sorted(label for label, count in gone.items() if count == have[label])
    named = f"; the head can never find {', '.join(never)}" if never else ""
    logger.warning(
        "%s within a word that another span has, and %s left out%s",
        "1 span lies" if len(lost) == 1 else f"{len(lost):,} spans lie",
        "was" if len(lost) == 1 else "were",
        named,
    )


class _Fitting:
    """Heads on the words of some texts, in turn, which share what they see of the vectors."""

    def __init__(
        self,
        data: TrainingWords,
        encoder: EncoderReference,
        labels: Sequence[str],
        config: TaggerConfig,
    ) -> None:
        self._data = data
        self._encoder = encoder
        self._labels = labels
        self._config = config
        self._starts = np.concatenate([[0], data.ends[:-1]])
        self._filled = data.ends > self._starts

    def folds(self, equal: IntArray) -> list[BoolArray]:
        """Return which texts (n,) are left out, in turn: a fifth, or more of those of few spans.

        `equal` numbers the texts. The only text of a label is always among the others.
        """
        counts = np.zeros((len(equal), len(self._labels)), dtype=np.int64)  # of spans
        begins = np.flatnonzero(self._data.tags % 2)  # tag 2 i + 1 begins a span of label i
        text = np.searchsorted(self._data.ends, begins, side="right")
        np.add.at(counts, (text, self._data.tags[begins] // 2), 1)
        number = stratified_folds(counts > 0, equal=equal, folds=_FOLDS, seed=self._config.seed)
        found: list[BoolArray] = []
        spans = 0
        for fold in range(_FOLDS):
            held = (number == fold) & self._filled
            own = int(counts[held].sum())
            if own and spans < _LEAST_SPANS and (self._filled & ~held).any():
                found.append(held)
                spans += own
        return found

    def run(
        self, folds: Sequence[BoolArray], progress: Progress | None
    ) -> tuple[Tagger, list[float], list[UnseenTexts]]:
        """Return the head of all texts with its losses, and what others say of their folds."""
        import torch

        rng = np.random.default_rng(self._config.seed)
        parts = [self._filled, *(self._filled & ~held for held in folds)]
        steps = [self._config.steps(int(part.sum())) for part in parts]
        done = itertools.count(1)

        def step() -> None:
            if progress is not None:
                progress(next(done), sum(steps))

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._config.seed)
            inputs, data = self._seen(rng)
            (head, losses), *others = (
                self._fit(data, inputs, np.flatnonzero(part), rng, count, step)
                for part, count in zip(parts, steps, strict=True)
            )
        unseen = [
            self._unseen(other, np.flatnonzero(held))
            for (other, _), held in zip(others, folds, strict=True)
        ]
        return head, losses, unseen

    def _seen(self, rng: np.random.Generator) -> tuple[TaggerInputs, TrainingWords]:
        """Return what heads see of the vectors, and the words by it where that is kept."""
        concatenated = Layers(self._config.layers) is Layers.CONCATENATED
        directions = self._config.directions if concatenated else 0
        inputs = fit_inputs(self._data.vectors, directions=directions, rng=rng)
        if inputs.directions is None:
            return inputs, self._data
        # Few enough to be made once, and kept in memory.
        return inputs, replace(self._data, vectors=inputs.halved(self._data.vectors))

    def _fit(
        self,
        data: TrainingWords,
        inputs: TaggerInputs,
        texts: IntArray,
        rng: np.random.Generator,
        steps: int,
        step: Callable[[], None],
    ) -> tuple[Tagger, list[float]]:
        import torch

        from simsearch.heads.tagger_module import TaggerModule

        config = self._config
        module = TaggerModule(
            data.vectors.shape[1],
            layers=data.layers,
            labels=len(self._labels),
            hidden=config.hidden,
            blocks=config.blocks,
            kernel=config.kernel,
            dropout=config.dropout,
            joined=Layers(config.layers),
            rng=rng,
        )
        optimizer = torch.optim.AdamW(
            module.parameters(),
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
            fused=True,  # in a fifth of the time
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda done: _rate(done, steps))
        losses: list[float] = []
        module.train()
        for batch in _batches(data, texts, inputs, config, rng, steps):
            scores = module(batch.inputs, batch.shapes, batch.taken, batch.total)
            loss = module.loss(scores, batch.tags, batch.lengths)
            losses.append(loss.item())
            if not math.isfinite(losses[-1]):
                raise InvalidData(
                    f"the loss of step {len(losses)} is {losses[-1]} (use a smaller learning rate)"
                )
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(module.parameters(), _LONGEST_NORM)
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
            step()
        made = module.eval().tagger(self._encoder, self._labels, inputs=inputs, field=config.field)
        return made, losses

    def _unseen(self, head: Tagger, texts: IntArray) -> UnseenTexts:
        places = [slice(self._starts[text], self._data.ends[text]) for text in texts]
        emissions: list[FloatArray] = []
        # The vectors lie in a file, and are wide.
        for part in word_parts([each.stop - each.start for each in places], most=WORDS_AT_ONCE):
            emissions += head.emissions(
                [_widened(self._data.vectors[places[row]]) for row in part],
                [self._data.shapes[places[row]] for row in part],
            )
        return UnseenTexts.of(head.chain, emissions, [self._data.tags[place] for place in places])


def _rate(step: int, steps: int) -> float:
    """Return the share of the learning rate: up in a tenth of the steps, then down to 0."""
    warm_up = max(1, int(steps * _WARM_UP))
    if step < warm_up:
        return (step + 1) / warm_up
    return max(0.0, (steps - step) / max(1, steps - warm_up))


@dataclass(frozen=True, slots=True, eq=False)
class _Batch:
    """Texts of one step; shapes as `TaggerModule.forward` has them."""

    inputs: torch.Tensor
    shapes: torch.Tensor
    taken: torch.Tensor
    total: int
    tags: torch.Tensor
    lengths: list[int]


def _batches(
    data: TrainingWords,
    texts: IntArray,
    inputs: TaggerInputs,
    config: TaggerConfig,
    rng: np.random.Generator,
    steps: int,
) -> Iterator[_Batch]:
    """Yield the batches of all epochs, each of which has every one of `texts` once."""
    import torch

    made = inputs.of if inputs.directions is None else _widened
    starts = np.concatenate([[0], data.ends[:-1]])
    done = 0
    while done < steps:
        order = rng.permutation(texts)
        for begin in range(0, len(order), config.batch_size):
            if done == steps:
                return
            done += 1
            part = order[begin : begin + config.batch_size]
            lengths = (data.ends[part] - starts[part]).tolist()
            rows = np.concatenate([np.arange(starts[text], data.ends[text]) for text in part])
            places, total = flat_places(lengths, gap=config.kernel // 2)
            taken = np.concatenate([np.arange(*place) for place in places])
            yield _Batch(
                inputs=torch.from_numpy(made(data.vectors[rows])),
                shapes=torch.from_numpy(data.shapes[rows]),
                taken=torch.from_numpy(taken),
                total=total,
                tags=torch.from_numpy(data.tags[rows]),
                lengths=lengths,
            )


def _widened(vectors: HalfArray) -> FloatArray:
    return vectors.astype(np.float32)
