"""The training objectives: which examples each takes, its loss and its defaults."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import (
    BatchHardTripletLoss,
    BatchHardTripletLossDistanceFunction,
    ContrastiveLoss,
    CoSENTLoss,
    SiameseDistanceMetric,
    TripletDistanceMetric,
    TripletLoss,
)
from torch import nn

from simsearch.errors import InvalidData, InvalidInput
from simsearch.formats import Example
from simsearch.heads import HeadKind
from simsearch.records import (
    ClassifiedText,
    ClassPair,
    LabelledPair,
    LabelledText,
    Pair,
    ScoredPair,
    TaggedText,
    Triplet,
    UnlabelledText,
)
from simsearch.training.config import AUTO, TAGS, OptimizerName, TrainingConfig
from simsearch.training.examples import KIND_NAMES
from simsearch.training.losses import (
    ClassLoss,
    InBatchLoss,
    LibraryLoss,
    SoftmaxPairLoss,
    TagLoss,
    TripletMarginRankingLoss,
    TripletSoftmaxLoss,
)

_TEMPERATURE = 0.05
_TRIPLET_MARGIN = 0.2
# Measured on triplets of docstrings: 0.003 learns less, 0.03 forgets far more than it learns
# (docs/log.md, 2026-11-26).
_SGD_RATE = 0.01


@dataclass(frozen=True, slots=True)
class Objective:
    """What a run minimises.

    u, v are the embeddings of two texts by the same encoder, s(u, v) their cosine similarity and
    d = 1 - s their distance. `make_loss` is called with the model, the number of classes, 0 where
    there are none, and what the formula calls t or m.
    """

    name: str
    formula: str
    source: str
    takes: tuple[type[Example], ...]
    make_loss: Callable[[SentenceTransformer, int, float], nn.Module]
    temperature: float | None = None  # t; None where the formula has none
    margin: float | None = None  # m, likewise
    epochs: int = 2
    batch_size: int = 32
    learning_rate: float = 5e-5
    optimizer: OptimizerName = OptimizerName.ADAMW
    # Each text's negatives are the others of its batch, where it is not itself an answer.
    in_batch: bool = False
    # How often a step embeds each text.
    passes: int = 1
    # Batches hold two texts at least of each class that is in them.
    by_class: bool = False
    # Hard negatives that are mined for a pair, if nothing else is asked for.
    negatives: int = 0
    # A head of this kind is fitted to the tuned encoder, scored on the held-out part, and kept.
    head: HeadKind | None = None

    def rate_with(self, optimizer: OptimizerName) -> float:
        """Return the peak learning rate: SGD takes the gradient as long as it is."""
        return _SGD_RATE if optimizer is OptimizerName.SGD else self.learning_rate

    def loss(
        self, model: SentenceTransformer, classes: int, config: TrainingConfig | None = None
    ) -> nn.Module:
        """Return the loss, with the temperature or margin of a configuration that sets it."""
        constants = self.constants(config or TrainingConfig())
        return self.make_loss(model, classes, next(iter(constants.values()), 0.0))

    def constants(self, config: TrainingConfig) -> dict[str, float]:
        """Return the formula's t or m, by that name, as a configuration sets it; perhaps none."""
        found = {"t": self.constant("temperature", config), "m": self.constant("margin", config)}
        return {name: value for name, value in found.items() if value is not None}

    def constant(
        self, name: Literal["temperature", "margin"], config: TrainingConfig
    ) -> float | None:
        """Return the temperature or margin, as a configuration sets it; None if there is none."""
        own: float | None = getattr(self, name)
        asked: float | None = getattr(config, name)
        return own if own is None or asked is None else asked


def _in_batch(_: SentenceTransformer, __: int, temperature: float) -> nn.Module:
    return InBatchLoss(temperature)


def _contrastive(model: SentenceTransformer, _: int, margin: float) -> nn.Module:
    return LibraryLoss(
        ContrastiveLoss(
            model,
            distance_metric=SiameseDistanceMetric.COSINE_DISTANCE,
            margin=margin,
        )
    )


def _cosine(model: SentenceTransformer, _: int, temperature: float) -> nn.Module:
    return LibraryLoss(CoSENTLoss(model, scale=1 / temperature))


def _softmax(model: SentenceTransformer, classes: int, _: float) -> nn.Module:
    return SoftmaxPairLoss(model.get_embedding_dimension(), classes)


def _classes(model: SentenceTransformer, classes: int, temperature: float) -> nn.Module:
    return ClassLoss(model.get_embedding_dimension(), classes, temperature=temperature)


def _tags(model: SentenceTransformer, classes: int, _: float) -> nn.Module:
    return TagLoss(model[0].get_embedding_dimension(), 1 + 2 * classes)


def _triplet_hinge(model: SentenceTransformer, _: int, margin: float) -> nn.Module:
    return LibraryLoss(
        TripletLoss(model, distance_metric=TripletDistanceMetric.COSINE, triplet_margin=margin)
    )


def _triplet_softmax(_: SentenceTransformer, __: int, temperature: float) -> nn.Module:
    return TripletSoftmaxLoss(temperature)


def _triplet_margin_ranking(_: SentenceTransformer, __: int, margin: float) -> nn.Module:
    return TripletMarginRankingLoss(margin)


def _batch_hard(model: SentenceTransformer, _: int, margin: float) -> nn.Module:
    return LibraryLoss(
        BatchHardTripletLoss(
            model,
            distance_metric=BatchHardTripletLossDistanceFunction.cosine_distance,
            margin=margin,
        )
    )


# The first that takes a kind of examples is the one that `auto` chooses for it.
_ALL = (
    Objective(
        name="in-batch",
        formula="-log exp(s(a,p)/t) / sum over the batch's positives and negatives x exp(s(a,x)/t)",
        source="van den Oord et al. 2018 (InfoNCE); Henderson et al. 2017",
        takes=(Pair, Triplet),
        make_loss=_in_batch,
        temperature=_TEMPERATURE,
        # Chosen on three sets together, with the next line (docs/log.md, 2026-11-26).
        epochs=4,
        in_batch=True,
        negatives=1,
    ),
    Objective(
        name="contrastive",
        formula="y d(u,v)^2 + (1 - y) max(0, m - d(u,v))^2, halved",
        source="Hadsell, Chopra & LeCun 2006",
        takes=(LabelledPair,),
        make_loss=_contrastive,
        margin=0.5,
    ),
    Objective(
        name="softmax",
        formula="cross-entropy of softmax(W [u; v; |u - v|] + b) to the class of the pair",
        source="Reimers & Gurevych 2019 (SBERT)",
        takes=(ClassPair, LabelledPair),
        make_loss=_softmax,
    ),
    Objective(
        name="cosine",
        formula="log(1 + sum over pairs i, j scored y_i > y_j of exp((s_j - s_i)/t))",
        source="CoSENT (Su 2022)",
        takes=(ScoredPair,),
        make_loss=_cosine,
        temperature=_TEMPERATURE,
    ),
    Objective(
        name="triplet-hinge",
        formula="max(0, d(a,p) - d(a,n) + m)",
        source="Schroff, Kalenichenko & Philbin 2015 (FaceNet)",
        takes=(Triplet, Pair),
        make_loss=_triplet_hinge,
        margin=_TRIPLET_MARGIN,
        optimizer=OptimizerName.SGD,
        negatives=1,
    ),
    Objective(
        name="triplet-softmax",
        formula="-log exp(s(a,p)/t) / (exp(s(a,p)/t) + exp(s(a,n)/t))",
        source="Hoffer & Ailon 2015, with cross-entropy",
        takes=(Triplet, Pair),
        make_loss=_triplet_softmax,
        temperature=_TEMPERATURE,
        optimizer=OptimizerName.SGD,
        negatives=1,
    ),
    Objective(
        name="triplet-margin-ranking",
        formula="max(0, m - (s(a,p) - s(a,n)))",
        source="Herbrich, Graepel & Obermayer 2000, on similarities",
        takes=(Triplet, Pair),
        make_loss=_triplet_margin_ranking,
        margin=_TRIPLET_MARGIN,
        optimizer=OptimizerName.SGD,
        negatives=1,
    ),
    Objective(
        name="batch-hard",
        formula="max(0, max d(a,p) - min d(a,n) + m), p of a's class in the batch, n of the others",
        source="Hermans, Beyer & Leibe 2017",
        takes=(LabelledText,),
        make_loss=_batch_hard,
        margin=_TRIPLET_MARGIN,
        by_class=True,
    ),
    Objective(
        name="unlabelled",
        formula="in-batch, with a text under two dropout masks as anchor and positive",
        source="Gao, Yao & Chen 2021 (SimCSE)",
        takes=(UnlabelledText, LabelledText, ClassifiedText),
        make_loss=_in_batch,
        temperature=_TEMPERATURE,
        in_batch=True,
        passes=2,
    ),
    Objective(
        name="classes",
        formula="cross-entropy of softmax((W u + b) / t) to the class of the text; where several "
        "may hold, of the sigmoid of each, summed",
        source="the linear probe of the class head, with the encoder learning too",
        takes=(LabelledText, ClassifiedText),
        make_loss=_classes,
        temperature=_TEMPERATURE,
        epochs=4,
        head=HeadKind.CLASSIFIER,
    ),
    Objective(
        name=TAGS,
        formula="cross-entropy of softmax(W x + b) to the IOB2 tag of each word, x the mean of its "
        "pieces in the last layer",
        source="Devlin et al. 2019 (BERT), section 5.3",
        takes=(TaggedText,),
        make_loss=_tags,
        epochs=4,
        batch_size=16,
        head=HeadKind.TAGGER,
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
        takes = " or ".join(KIND_NAMES[taken] for taken in objective.takes)
        fits = ", ".join(o.name for o in _ALL if kind in o.takes)
        raise InvalidData(
            f"objective {name} takes {takes}, the data holds {KIND_NAMES[kind]} "
            f"(objectives for it: {fits})"
        )
    return objective
