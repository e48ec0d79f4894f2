"""The losses that the library does not have, or not in the form that is needed here.

Each is called as the library's are, `compute_loss_from_embeddings(embeddings, labels)` with one
tensor (b, dim) per column of texts, and returns the mean over the batch, a tensor ().
s(u, v) is the cosine similarity of u and v.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, cross_entropy, margin_ranking_loss


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

    def compute_loss_from_embeddings(self, embeddings: Sequence[Tensor], labels: Tensor) -> Tensor:
        """Return the loss of pairs; `labels` (b,) are the numbers of their classes."""
        first, second = embeddings
        return cross_entropy(self.decoder(pair_features(first, second)), labels.view(-1))


class TripletSoftmaxLoss(nn.Module):
    """-log exp(s(a,p)/t) / (exp(s(a,p)/t) + exp(s(a,n)/t)).

    Hoffer & Ailon 2015, with cross-entropy in the place of the squared error.
    """

    def __init__(self, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature

    def compute_loss_from_embeddings(self, embeddings: Sequence[Tensor], labels: Tensor) -> Tensor:
        """Return the loss of triplets; `labels` are not looked at."""
        anchor, positive, negative = embeddings
        near, far = cosine_similarity(anchor, positive), cosine_similarity(anchor, negative)
        logits = torch.stack([near, far], dim=-1) / self.temperature  # (b, 2)
        return cross_entropy(logits, torch.zeros_like(near, dtype=torch.int64))


class TripletMarginRankingLoss(nn.Module):
    """max(0, m - (s(a,p) - s(a,n))): torch's MarginRankingLoss on similarities."""

    def __init__(self, margin: float) -> None:
        super().__init__()
        self.margin = margin

    def compute_loss_from_embeddings(self, embeddings: Sequence[Tensor], labels: Tensor) -> Tensor:
        """Return the loss of triplets; `labels` are not looked at."""
        anchor, positive, negative = embeddings
        near, far = cosine_similarity(anchor, positive), cosine_similarity(anchor, negative)
        return margin_ranking_loss(near, far, torch.ones_like(near), margin=self.margin)
