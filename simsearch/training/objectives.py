"""The training objectives: which examples each takes, its loss and its defaults."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import (
    ContrastiveLoss,
    CoSENTLoss,
    MultipleNegativesRankingLoss,
    SiameseDistanceMetric,
    TripletDistanceMetric,
    TripletLoss,
)
from sentence_transformers.sentence_transformer.training_args import BatchSamplers

from simsearch.errors import InvalidData, InvalidInput
from simsearch.formats import Example
from simsearch.records import LabelledPair, Pair, ScoredPair, Triplet
from simsearch.training.config import AUTO

TEMPERATURE = 0.05
CONTRASTIVE_MARGIN = 0.5
TRIPLET_MARGIN = 0.2


@dataclass(frozen=True, slots=True)
class Objective:
    """What a run minimises.

    u, v are the embeddings of two texts by the same encoder, s(u, v) their cosine similarity and
    d = 1 - s their distance.
    """

    name: str
    formula: str
    source: str
    takes: tuple[type[Example], ...]
    make_loss: Callable[[SentenceTransformer], Any]
    epochs: int
    batch_size: int
    learning_rate: float
    # A text twice in a batch would be its own negative.
    sampler: BatchSamplers = BatchSamplers.BATCH_SAMPLER


def _in_batch(model: SentenceTransformer) -> Any:
    return MultipleNegativesRankingLoss(model, scale=1 / TEMPERATURE)


def _contrastive(model: SentenceTransformer) -> Any:
    return ContrastiveLoss(
        model,
        distance_metric=SiameseDistanceMetric.COSINE_DISTANCE,
        margin=CONTRASTIVE_MARGIN,
    )


def _cosine(model: SentenceTransformer) -> Any:
    return CoSENTLoss(model, scale=1 / TEMPERATURE)


def _triplet_hinge(model: SentenceTransformer) -> Any:
    return TripletLoss(
        model, distance_metric=TripletDistanceMetric.COSINE, triplet_margin=TRIPLET_MARGIN
    )


_ALL = (
    Objective(
        name="in-batch",
        formula="-log exp(s(a,p)/t) / sum over the batch's positives and negatives x exp(s(a,x)/t)",
        source="van den Oord et al. 2018 (InfoNCE); Henderson et al. 2017",
        takes=(Pair, Triplet),
        make_loss=_in_batch,
        epochs=2,
        batch_size=32,
        learning_rate=5e-5,
        sampler=BatchSamplers.NO_DUPLICATES,
    ),
    Objective(
        name="contrastive",
        formula="y d(u,v)^2 + (1 - y) max(0, m - d(u,v))^2, halved",
        source="Hadsell, Chopra & LeCun 2006",
        takes=(LabelledPair,),
        make_loss=_contrastive,
        epochs=2,
        batch_size=32,
        learning_rate=5e-5,
    ),
    Objective(
        name="cosine",
        formula="log(1 + sum over pairs i, j scored y_i > y_j of exp((s_j - s_i)/t))",
        source="CoSENT (Su 2022)",
        takes=(ScoredPair,),
        make_loss=_cosine,
        epochs=2,
        batch_size=32,
        learning_rate=5e-5,
    ),
    Objective(
        name="triplet-hinge",
        formula="max(0, d(a,p) - d(a,n) + m)",
        source="Schroff, Kalenichenko & Philbin 2015 (FaceNet)",
        takes=(Triplet,),
        make_loss=_triplet_hinge,
        epochs=2,
        batch_size=32,
        learning_rate=5e-5,
    ),
)
OBJECTIVES: dict[str, Objective] = {objective.name: objective for objective in _ALL}


def choose_objective(name: str, kind: type[Any]) -> Objective:
    """Return the objective of that name; for `auto`, the first that takes the examples.

    Raises:
        InvalidInput: there is none of that name.
        InvalidData: it does not take examples of this kind.
    """
    if name == AUTO:
        return next(objective for objective in _ALL if kind in objective.takes)
    if name not in OBJECTIVES:
        raise InvalidInput(f"no objective {name!r} (there are: {AUTO}, {', '.join(OBJECTIVES)})")
    objective = OBJECTIVES[name]
    if kind not in objective.takes:
        takes = " or ".join(taken.__name__ for taken in objective.takes)
        fits = ", ".join(o.name for o in _ALL if kind in o.takes)
        raise InvalidData(
            f"objective {name} takes examples of {takes}, the data holds {kind.__name__} "
            f"(objectives for it: {fits})"
        )
    return objective
