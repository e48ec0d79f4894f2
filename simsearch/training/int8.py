"""Whether an encoder in eight-bit integers ranks as well: measured, or not had."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from simsearch.ann import VectorIndex
from simsearch.encoder import Encoder
from simsearch.encoder.int8 import int8_directory, note_gate, write_int8
from simsearch.errors import InvalidData
from simsearch.files import draft_directory, install_directory
from simsearch.formats import Example
from simsearch.search_index import Embedder, RetrievalTask
from simsearch.training.held_out import HeldOut, HeldOutRetrieval, make_held_out
from simsearch.wording import counted

# The least share of fp32's figure that int8 has to reach.
REQUIRED_SHARE = 0.99
OVERLAP = "neighbour overlap@10"
_NEIGHBOURS = 10
_MOST_TEXTS = 10_000
_LEAST_TEXTS = 100


@dataclass(frozen=True, slots=True)
class Int8Gate:
    """What int8 was measured to be worth: `int8` has to be at least 0.99 of `fp32`."""

    metric: str
    fp32: float
    int8: float
    measured_on: str

    @property
    def passed(self) -> bool:
        """Whether int8 may be used."""
        # Where fp32 finds nothing there is nothing to be as good as.
        return self.fp32 > 0 and self.int8 >= REQUIRED_SHARE * self.fp32


def export_int8(
    encoder: Encoder, data: Sequence[Example] | RetrievalTask | Sequence[str]
) -> Int8Gate:
    """Make the int8 form of an encoder, and keep it if it ranks as well on `data`.

    On pairs, triplets or a retrieval task the figure is nDCG@10 (on labelled or scored pairs
    their own metric). On plain texts it is the share of each text's ten nearest neighbours among
    the others that stays the same.

    Raises:
        InvalidData: there are too few texts to be measured on.
        EncoderError: the encoder cannot be exported or quantised.
    """
    measure = _measurement(data)
    export = encoder.export_directory()
    target = int8_directory(export)
    with draft_directory(target) as draft:
        write_int8(export, draft)
        gate = measure(encoder, Encoder.load(draft))
        if gate.passed:
            note_gate(draft, asdict(gate))
            install_directory(draft, target, replace=True)
    return gate


def measure_int8(
    encoder: Embedder, int8: Embedder, data: Sequence[Example] | RetrievalTask | Sequence[str]
) -> Int8Gate:
    """Measure two forms of one encoder on the same data.

    Raises:
        InvalidData: there are too few texts to be measured on.
    """
    return _measurement(data)(encoder, int8)


def _measurement(
    data: Sequence[Example] | RetrievalTask | Sequence[str],
) -> Callable[[Embedder, Embedder], Int8Gate]:
    """Return what measures two forms of one encoder on this data."""
    texts = [] if isinstance(data, RetrievalTask) else [t for t in data if isinstance(t, str)]
    if texts:
        distinct = list(dict.fromkeys(texts))[:_MOST_TEXTS]
        _refuse_few(len(distinct), "distinct texts are too few to compare neighbours")
        return functools.partial(_neighbours, texts=distinct)
    held_out = _held_out(data)
    if isinstance(held_out, HeldOutRetrieval):
        _refuse_few(len(held_out.task.corpus), "texts are too few to be ranked")
    else:
        _refuse_few(held_out.size, "pairs are too few to be measured on")
    return functools.partial(_scores, held_out=held_out)


def _held_out(data: Sequence[Example] | RetrievalTask | Sequence[str]) -> HeldOut:
    if isinstance(data, RetrievalTask):
        return HeldOutRetrieval(data)
    examples = [example for example in data if not isinstance(example, str)]
    _refuse_few(len(examples), "examples are too few to be measured on")
    return make_held_out(examples, distractor_limit=0, seed=0)


def _refuse_few(number: int, told: str) -> None:
    # Among fewer any encoder finds the right one, and int8 would pass untried.
    if number < _LEAST_TEXTS:
        raise InvalidData(f"{number} {told} (at least {_LEAST_TEXTS})")


def _scores(encoder: Embedder, int8: Embedder, *, held_out: HeldOut) -> Int8Gate:
    metric = held_out.deciding_metric
    before, after = held_out.score(encoder), held_out.score(int8)
    return Int8Gate(metric, before.metrics[metric], after.metrics[metric], held_out.description)


def _neighbours(encoder: Embedder, int8: Embedder, *, texts: Sequence[str]) -> Int8Gate:
    same = 0
    for one, other in zip(_nearest(encoder, texts), _nearest(int8, texts), strict=True):
        same += len(one & other)
    overlap = same / (_NEIGHBOURS * len(texts))
    return Int8Gate(OVERLAP, 1.0, overlap, f"{counted(len(texts), 'text')}")


def _nearest(encoder: Embedder, texts: Sequence[str]) -> list[set[int]]:
    """Return for each text the ten nearest others."""
    vectors = encoder.encode_documents(texts)
    index = VectorIndex(encoder.dim)
    index.add(np.arange(len(texts)), vectors)
    rows, _ = index.search(vectors, _NEIGHBOURS + 1)
    return [
        set([row for row in found if row != number][:_NEIGHBOURS])
        for number, found in enumerate(rows.tolist())
    ]
