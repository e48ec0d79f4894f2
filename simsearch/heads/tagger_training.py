"""From texts with spans to a tagger: the encoder reads them once, the head is trained on that.

The encoder stays as it is, so an index built with it stays valid, and a pass over the training
texts costs only the head.
"""

from __future__ import annotations

import logging
import math
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import IO, TYPE_CHECKING

import numpy as np

from simsearch.encoder import Encoder, EncodingCounts
from simsearch.encoder.runtime import FloatArray, IntArray
from simsearch.errors import InvalidData, InvalidInput
from simsearch.heads.head_file import EncoderReference, check_field
from simsearch.heads.tagger import Tagger, flat_places
from simsearch.heads.tagger_inputs import HalfArray, TaggerInputs, fit_inputs, halved
from simsearch.heads.word_vectors import read_texts
from simsearch.heads.words import tags_of_spans, word_shapes
from simsearch.records import Span, TaggedText
from simsearch.wording import counted

if TYPE_CHECKING:
    import torch

    from simsearch.heads.tagger_module import TaggerModule

logger = logging.getLogger("simsearch")

Progress = Callable[[int, int], None]

_READ_AT_ONCE = 256  # texts whose vectors are in memory before they are written away
_LEAST_EPOCHS = 8
_LEAST_STEPS = 140  # what a hundred texts need
_WARM_UP = 0.1
_LONGEST_NORM = 1.0


@dataclass(frozen=True, slots=True)
class TaggerConfig:
    """Settings of a training.

    `layers` is "concatenated", of which a tagger sees so many principal `directions` (0: all
    numbers as they are), or "mixed". `epochs` None: 8, or as many as make 140 steps.

    Raises:
        InvalidInput: a setting is out of its range.
    """

    layers: str = "concatenated"
    directions: int = 384
    hidden: int = 256
    blocks: int = 2
    kernel: int = 5
    dropout: float = 0.3
    learning_rate: float = 2e-3
    weight_decay: float = 0.01
    batch_size: int = 8
    epochs: int | None = None
    seed: int = 0
    field: str = "entities"

    def __post_init__(self) -> None:
        if self.layers not in ("concatenated", "mixed"):
            raise InvalidInput(f"layers must be concatenated or mixed, got {self.layers!r}")
        for name, least, most in (
            ("directions", 0, 4096),
            ("hidden", 1, 4096),
            ("blocks", 0, 16),
            ("kernel", 1, 101),
            ("batch_size", 1, 4096),
            ("seed", 0, 2**63 - 1),
        ):
            value = getattr(self, name)
            if type(value) is not int:
                raise InvalidInput(f"{name} must be a whole number, got {value!r}")
            if not least <= value <= most:
                raise InvalidInput(f"{name} must be {least}..{most}, got {value}")
        if self.kernel % 2 == 0:
            raise InvalidInput(f"kernel must be odd, got {self.kernel}")
        if not 0 <= self.dropout < 1:
            raise InvalidInput(f"dropout must be 0 to below 1, got {self.dropout}")
        if not 0 < self.learning_rate < 1 or not 0 <= self.weight_decay < 1:
            raise InvalidInput("learning_rate must be above 0 and weight_decay at least 0, below 1")
        if self.epochs is not None and self.epochs < 1:
            raise InvalidInput(f"epochs must be at least 1, got {self.epochs}")
        check_field(self.field)

    def steps(self, texts: int) -> int:
        """Return how many steps a training on so many texts takes."""
        an_epoch = math.ceil(texts / self.batch_size)
        epochs = self.epochs or max(_LEAST_EPOCHS, math.ceil(_LEAST_STEPS / an_epoch))
        return epochs * an_epoch


@dataclass(frozen=True, slots=True, eq=False)
class TaggerTraining:
    """A trained tagger, what it was trained on, and the loss of every step, per word.

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


def train_tagger(
    texts: Sequence[TaggedText],
    encoder: Encoder,
    *,
    config: TaggerConfig | None = None,
    counts: EncodingCounts | None = None,
    reading: Progress | None = None,
    training: Progress | None = None,
) -> TaggerTraining:
    """Train a tagger on a frozen encoder; the labels are in order of their names.

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
        data = _read(texts, labels, encoder, file, counts, reading)
        if data.cut:
            logger.info(
                "%s not begin and end with a word: widened",
                counted(data.cut, "span does", "spans do"),
            )
        _warn_of_lost(texts, data.lost)
        module, inputs, losses = _train(data, len(labels), config, training)
    reference = EncoderReference.of(encoder)
    head = module.tagger(reference, labels, inputs=inputs, field=config.field)
    spans = sum(len(text.spans) for text in texts)
    return TaggerTraining(head, len(texts), len(data.tags), spans, data.cut, len(data.lost), losses)


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


@dataclass(frozen=True, slots=True, eq=False)
class _Words:
    """All words of the training texts, one behind another; `ends` (texts,) of their rows.

    `vectors` (w, layers x hidden) lie in a file, in half precision: a hundred thousand words of a
    small encoder are half a gigabyte.
    """

    vectors: HalfArray
    shapes: FloatArray
    tags: IntArray
    ends: IntArray
    layers: int
    cut: int
    lost: Sequence[Span]


def _read(
    texts: Sequence[TaggedText],
    labels: Sequence[str],
    encoder: Encoder,
    file: IO[bytes],
    counts: EncodingCounts | None,
    progress: Progress | None,
) -> _Words:
    shapes, tags, ends = [], [], []
    cut = words = width = 0
    lost: list[Span] = []
    for start in range(0, len(texts), _READ_AT_ONCE):
        part = texts[start : start + _READ_AT_ONCE]
        readings = read_texts(encoder, [text.text for text in part], counts=counts)
        for text, reading in zip(part, readings, strict=True):
            own = tags_of_spans(text.spans, reading.words, labels)
            cut += own.widened
            lost += own.lost
            words += len(own.tags)
            width = reading.vectors.shape[1]
            shapes.append(word_shapes(text.text, reading.words))
            tags.append(own.tags)
            ends.append(words)
            file.write(halved(reading.vectors).tobytes())
        if progress is not None:
            progress(start + len(part), len(texts))
    file.flush()
    if not words:
        raise InvalidData("the texts hold no word")
    _, first = next(iter(encoder.read_layers([texts[0].text])))
    return _Words(
        vectors=np.memmap(file, dtype=np.float16, mode="r", shape=(words, width)),
        shapes=np.concatenate(shapes),
        tags=np.concatenate(tags),
        ends=np.array(ends),
        layers=len(first.layers),
        cut=cut,
        lost=lost,
    )


def _train(
    data: _Words, labels: int, config: TaggerConfig, progress: Progress | None
) -> tuple[TaggerModule, TaggerInputs, list[float]]:
    import torch

    from simsearch.heads.tagger_module import Layers, TaggerModule

    rng = np.random.default_rng(config.seed)
    joined = Layers(config.layers)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        directions = config.directions if joined is Layers.CONCATENATED else 0
        inputs = fit_inputs(data.vectors, directions=directions, rng=rng)
        if inputs.directions is not None:  # few enough to be made once, and kept in memory
            data = replace(data, vectors=inputs.halved(data.vectors))
        module = TaggerModule(
            data.vectors.shape[1],
            layers=data.layers,
            labels=labels,
            hidden=config.hidden,
            blocks=config.blocks,
            kernel=config.kernel,
            dropout=config.dropout,
            joined=joined,
            rng=rng,
        )
        optimizer = torch.optim.AdamW(
            module.parameters(),
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
            fused=True,  # in a fifth of the time
        )
        steps = config.steps(len(data.ends))
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, steps))
        losses: list[float] = []
        module.train()
        for batch in _batches(data, inputs, config, rng, steps):
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
            if progress is not None:
                progress(len(losses), steps)
    return module.eval(), inputs, losses


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
    data: _Words,
    inputs: TaggerInputs,
    config: TaggerConfig,
    rng: np.random.Generator,
    steps: int,
) -> Iterator[_Batch]:
    """Yield the batches of all epochs, each of which has every text with words once."""
    import torch

    made = inputs.of if inputs.directions is None else _widened
    starts = np.concatenate([[0], data.ends[:-1]])
    filled = np.flatnonzero(data.ends > starts)
    done = 0
    while done < steps:
        order = rng.permutation(filled)
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
