"""Whether a text is of any known class at all: a probability, from how the classifier sees it.

Three signs: how much evidence there is for any class (the log of the summed exponentials of the
logits, the energy of Liu et al. 2020), how clear the first choice is, and how near the text lies
to the mean of a class. A logistic map of them is fitted to texts of classes that were left out of
training, or to given ones, at even odds: 0.5 is the border where both are equally common.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simsearch.encoder.runtime import FloatArray

SIGNS = 3


def scope_signs(logits: FloatArray, embeddings: FloatArray, centroids: FloatArray) -> FloatArray:
    """Return the three signs of each text: energy, margin, and cosine to the nearest centroid.

    Shape: (n, classes), (n, dim), (classes, dim) -> (n, 3).
    """
    highest = logits.max(axis=1, keepdims=True)
    energy = highest[:, 0] + np.log(np.exp(logits - highest).sum(axis=1))
    first_two = np.sort(logits, axis=1)[:, -2:]
    margin = first_two[:, 1] - first_two[:, 0]
    nearest = (embeddings @ centroids.T).max(axis=1)
    return np.stack([energy, margin, nearest], axis=1).astype(np.float32)


def class_centroids(embeddings: FloatArray, members: FloatArray) -> FloatArray:
    """Return the mean direction of each class, (classes, dim); `members` (n, classes) is 0 or 1."""
    sums = members.T @ embeddings
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    return np.asarray(sums / np.maximum(lengths, 1e-12), dtype=np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Scope:
    """`centroids` (classes, dim) of unit length, and the logistic map of the signs."""

    centroids: FloatArray
    weight: FloatArray  # (3,)
    bias: float

    def probabilities(self, logits: FloatArray, embeddings: FloatArray) -> FloatArray:
        """Return the probability that each text is of a known class.

        Shape: (n, classes) and (n, dim) -> (n,).
        """
        signs = scope_signs(logits, embeddings, self.centroids)
        return sigmoid(signs @ self.weight + np.float32(self.bias))


def sigmoid(values: FloatArray) -> FloatArray:
    """Return 1 / (1 + exp(-x)), without overflow."""
    raised = np.exp(-np.abs(values))
    result: FloatArray = np.where(values >= 0, 1, raised) / (1 + raised)
    return result


def softmax(logits: FloatArray) -> FloatArray:
    """Return the probabilities of each row; they add up to 1."""
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities: FloatArray = raised / raised.sum(axis=1, keepdims=True)
    return probabilities
