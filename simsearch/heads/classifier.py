"""Classifier: an embedding in, the class of its text out. Numpy alone: it runs on every query.

A linear map of the embedding, with a softmax over classes, or, where several may hold at once, a
sigmoid for each. The map is already divided by the temperature that makes its probabilities true.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from simsearch.encoder.runtime import FloatArray
from simsearch.errors import InvalidInput
from simsearch.heads.head_file import EncoderReference, HeadContent, HeadKind, read_head, write_head
from simsearch.heads.scope import SIGNS, Scope, sigmoid, softmax

DECIDED = 0.5  # from this probability on one of several labels holds


@dataclass(frozen=True, slots=True)
class Classification:
    """What a classifier says of one text.

    `labels` is the one class, or those of several that hold; none if the text was rejected.
    `probability` is that of the likeliest class. `in_scope` is the probability that the text is of
    a known class at all; None where the classifier cannot tell.
    """

    labels: tuple[str, ...]
    probability: float
    probabilities: Mapping[str, float]
    in_scope: float | None = None

    @property
    def label(self) -> str | None:
        """The one class, None if there is none."""
        return self.labels[0] if self.labels else None


@dataclass(frozen=True, slots=True, eq=False)
class Classifier:
    """A classification head: `weight` (classes, dim), `bias` (classes,).

    `field` is the metadata field that its labels go to when documents are indexed.
    """

    kind: ClassVar = HeadKind.CLASSIFIER

    encoder: EncoderReference
    labels: tuple[str, ...]
    weight: FloatArray
    bias: FloatArray
    several_labels: bool = False
    scope: Scope | None = None
    field: str = "label"

    def logits(self, embeddings: FloatArray) -> FloatArray:
        """Return the logits, (n, dim) -> (n, classes)."""
        logits: FloatArray = embeddings @ self.weight.T + self.bias
        return logits

    def classify(
        self, embeddings: FloatArray, *, min_in_scope: float | None = None
    ) -> list[Classification]:
        """Return what each of the embeddings (n, dim) is, in order.

        With `min_in_scope` a text that is less probably of a known class gets no label.

        Raises:
            InvalidInput: this classifier cannot tell what is out of scope, or it is no probability;
                or the embeddings are of another shape.
        """
        if embeddings.ndim != 2 or embeddings.shape[1] != self.encoder.dim:
            raise InvalidInput(
                f"expected embeddings of shape (n, {self.encoder.dim}), got {embeddings.shape}"
            )
        if min_in_scope is not None:
            if self.scope is None:
                raise InvalidInput("this classifier has no scope: it cannot reject texts")
            if not 0 <= min_in_scope <= 1:
                raise InvalidInput(f"min_in_scope must be 0..1, got {min_in_scope}")
        if not len(embeddings):
            return []
        logits = self.logits(embeddings)
        probabilities = sigmoid(logits) if self.several_labels else softmax(logits)
        scope = None
        if self.scope is not None:
            scope = self.scope.probabilities(logits, embeddings).tolist()
        results = []
        for row, values in enumerate(probabilities.tolist()):
            in_scope = None if scope is None else scope[row]
            rejected = min_in_scope is not None and in_scope is not None and in_scope < min_in_scope
            results.append(self._classification(values, in_scope, rejected=rejected))
        return results

    def _classification(
        self, values: list[float], in_scope: float | None, *, rejected: bool
    ) -> Classification:
        likeliest = max(range(len(values)), key=values.__getitem__)
        held = [likeliest]
        if self.several_labels:
            held = [number for number, value in enumerate(values) if value >= DECIDED]
        labels = () if rejected else tuple(self.labels[number] for number in held)
        by_label = dict(zip(self.labels, values, strict=True))
        return Classification(labels, values[likeliest], by_label, in_scope)

    def save(self, path: str | os.PathLike[str], *, replace: bool = False) -> None:
        """Write the classifier to a directory, whole or not at all.

        Raises:
            AlreadyExists: something is there, and is no head or not to be replaced.
        """
        tensors = {"weight": self.weight, "bias": self.bias}
        if self.scope is not None:
            tensors["scope.centroids"] = self.scope.centroids
            tensors["scope.weight"] = self.scope.weight
            tensors["scope.bias"] = np.array([self.scope.bias], dtype=np.float32)
        settings = {
            "labels": list(self.labels),
            "several_labels": self.several_labels,
            "scope": self.scope is not None,
            "field": self.field,
        }
        write_head(Path(path), self.kind, self.encoder, settings, tensors, replace=replace)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Classifier:
        """Read a classifier.

        Raises:
            NotFound: there is no head.
            InvalidInput: it is a head of another kind.
            EncoderError: it is damaged, or of another version.
        """
        return classifier_of(read_head(Path(path)))


def classifier_of(content: HeadContent) -> Classifier:
    """Return the classifier that a head's directory holds; errors as `Classifier.load`."""
    if content.kind is not HeadKind.CLASSIFIER:
        raise InvalidInput(f"{content.path} is a {content.kind}, expected a classifier")
    labels = content.names("labels")
    classes, dim = len(labels), content.encoder.dim
    scope = None
    if content.setting("scope", bool):
        scope = Scope(
            centroids=content.tensor("scope.centroids", classes, dim),
            weight=content.tensor("scope.weight", SIGNS),
            bias=float(content.tensor("scope.bias", 1)[0]),
        )
    return Classifier(
        encoder=content.encoder,
        labels=labels,
        weight=content.tensor("weight", classes, dim),
        bias=content.tensor("bias", classes),
        several_labels=content.setting("several_labels", bool),
        scope=scope,
        field=content.field(),
    )
