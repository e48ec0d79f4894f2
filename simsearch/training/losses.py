"""The losses that the library does not have, or not in the form that is needed here.

Each is a module called with one tensor (b, dim) per column of texts and a target, and returns the
mean over the batch, a tensor (). s(u, v) is the cosine similarity of u and v.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import (
    binary_cross_entropy_with_logits,
    cosine_similarity,
    cross_entropy,
    margin_ranking_loss,
    normalize,
)


class InBatchLoss(nn.Module):
    """-log exp(s(a,p)/t) / sum over candidates x of exp(s(a,x)/t): InfoNCE.

    van den Oord, Li & Vinyals 2018. The candidates of an anchor are the texts of the whole batch,
    less those that the target leaves out: other texts known to answer it, and second copies.
    """

    def __init__(self, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(self, columns: Sequence[Tensor], left_out: Tensor) -> Tensor:
        """Return the loss; the first b candidates are the anchors' positives, in order.

        Shape: anchors (b, dim), candidates (n, dim); `left_out` (b, n) is true where a candidate
        does not count.
        """
        anchors, candidates = columns
        similarities = normalize(anchors, dim=-1) @ normalize(candidates, dim=-1).T  # (b, n)
        logits = (similarities / self.temperature).masked_fill(left_out, -torch.inf)
        return cross_entropy(logits, torch.arange(len(anchors), device=logits.device))


def pair_features(first: Tensor, second: Tensor) -> Tensor:
    """Return what a pair decoder sees of two embeddings: u, v and their absolute difference.

    Shape: (b, dim) and (b, dim) -> (b, 3 dim). Reimers & Gurevych 2019 (SBERT), section 3.
    """
    return torch.cat([first, second, (first - second).abs()], dim=-1)


class SoftmaxPairLoss(nn.Module):
    """Cross-entropy of a pair decoder, a linear map of `pair_features` to the classes.

    The decoder learns with the encoder, and is kept. Reimers & Gurevych 2019 (SBERT), section 3.
    """

    def __init__(self, dim: int, classes: int) -> None:
        super().__init__()
        self.decoder = nn.Linear(3 * dim, classes)

    def forward(self, columns: Sequence[Tensor], classes: Tensor) -> Tensor:
        """Return the loss of pairs; `classes` (b,) are the numbers of their classes."""
        first, second = columns
        return cross_entropy(self.decoder(pair_features(first, second)), classes)


class ClassLoss(nn.Module):
    """Cross-entropy of a softmax over classes, of a linear map of the embedding.

    Where several classes may hold, of the sigmoid of each, summed over the classes. Embeddings are
    of unit length, so the logits are divided by a temperature.
    """

    def __init__(self, dim: int, classes: int, *, temperature: float) -> None:
        super().__init__()
        self.decoder = nn.Linear(dim, classes)
        self.temperature = temperature

    def forward(self, columns: Sequence[Tensor], classes: Tensor) -> Tensor:
        """Return the loss of texts, a mean over them.

        `classes` are the numbers of their classes, (b,), or 1 for each that holds, (b, classes).
        """
        (embeddings,) = columns
        logits = self.decoder(embeddings) / self.temperature
        if classes.ndim == 2:
            return binary_cross_entropy_with_logits(logits, classes, reduction="sum") / len(classes)
        return cross_entropy(logits, classes)


class TagLoss(nn.Module):
    """Cross-entropy of a softmax over tags, of a linear map of the vector of a word."""

    def __init__(self, hidden: int, tags: int) -> None:
        super().__init__()
        self.decoder = nn.Linear(hidden, tags)

    def forward(self, columns: Sequence[Tensor], tags: Tensor) -> Tensor:
        """Return the loss of the words of all texts: vectors (w, hidden), `tags` (w,)."""
        (words,) = columns
        if not len(tags):  # the window of every text ends within its first word
            return words.sum()
        return cross_entropy(self.decoder(words), tags)


class TripletSoftmaxLoss(nn.Module):
    """-log exp(s(a,p)/t) / (exp(s(a,p)/t) + exp(s(a,n)/t)).

    Hoffer & Ailon 2015, with cross-entropy in the place of the squared error.
    """

    def __init__(self, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(self, columns: Sequence[Tensor], _: Tensor) -> Tensor:
        """Return the loss of triplets, whose target is not looked at."""
        anchor, positive, negative = columns
        near, far = cosine_similarity(anchor, positive), cosine_similarity(anchor, negative)
        logits = torch.stack([near, far], dim=-1) / self.temperature  # (b, 2)
        return cross_entropy(logits, torch.zeros_like(near, dtype=torch.int64))


class TripletMarginRankingLoss(nn.Module):
    """max(0, m - (s(a,p) - s(a,n))): torch's MarginRankingLoss on similarities."""

    def __init__(self, margin: float) -> None:
        super().__init__()
        self.margin = margin

    def forward(self, columns: Sequence[Tensor], _: Tensor) -> Tensor:
        """Return the loss of triplets, whose target is not looked at."""
        anchor, positive, negative = columns
        near, far = cosine_similarity(anchor, positive), cosine_similarity(anchor, negative)
        return margin_ranking_loss(near, far, torch.ones_like(near), margin=self.margin)


class LibraryLoss(nn.Module):
    """A loss of sentence-transformers, called as ours are. It has no weights of its own."""

    def __init__(self, loss: Any) -> None:
        super().__init__()
        self._compute = loss.compute_loss_from_embeddings

    def forward(self, columns: Sequence[Tensor], labels: Tensor) -> Tensor:
        """Return what the library computes of embeddings and labels (b,)."""
        value: Tensor = self._compute(list(columns), labels)
        return value
