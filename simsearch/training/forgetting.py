"""What an encoder unlearns while it learns a domain: measured, and undone by mixing weights."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

from simsearch.encoder import MOST_UNKNOWN, EncodingCounts
from simsearch.errors import InvalidInput
from simsearch.records import Document
from simsearch.search_index import Embedder, RetrievalTask, evaluate_retrieval

if TYPE_CHECKING:
    from torch import Tensor

GENERAL_METRIC = "ndcg@10"
# The general set is English. Of an encoder made for another language it says nothing: one that
# knows too few of the tokens, or that ranks worse than this. A random ranking has 0.01, tf-idf
# 0.02 (right texts use other words than the query), all-MiniLM-L6-v2 0.83.
LEAST_BASE_SCORE = 0.3
# The base alone is not among them: a mixture that has nothing of the tuned weights is no result.
SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
_GENERAL_SET = "general_set.jsonl"


@dataclass(frozen=True, slots=True)
class MixPoint:
    """What an encoder with `share` of the tuned weights scores on the dev part and in general.

    Without a dev part `dev` is None.
    """

    share: float
    dev: float | None
    general: float


@dataclass(frozen=True, slots=True)
class Forgetting:
    """nDCG@10 on the general set: of the base, as it was tuned, and as it came out.

    The two last differ where too much was forgotten: then `share` is how much of the tuned weights
    the mixture has that `after` was measured on, and `curve` what it was chosen from.
    """

    before: float
    tuned: float
    after: float
    share: float | None = None
    curve: tuple[MixPoint, ...] = ()


def general_task() -> RetrievalTask:
    """Return 200 everyday English texts, each of which has one of 400 that says or answers it.

    The other half of the 400 are near misses: each shares words or the subject with one of the
    queries, and says something else.
    """
    stored = resources.files("simsearch.training").joinpath(_GENERAL_SET)
    queries: dict[str, str] = {}
    corpus: list[Document] = []
    qrels: dict[str, dict[str, int]] = {}
    for number, line in enumerate(stored.read_text(encoding="utf-8").splitlines(), start=1):
        row = json.loads(line)
        # Of equal scores the later id ranks first: a tie is not to the encoder's advantage.
        right, wrong = f"{number}-right", f"{number}-wrong"
        queries[str(number)] = row["anchor"]
        corpus += [Document(right, row["positive"]), Document(wrong, row["near_miss"])]
        qrels[str(number)] = {right: 1}
    return RetrievalTask(queries, corpus, qrels, name="general English")


def score_general(encoder: Embedder) -> float:
    """Return nDCG@10 on the general set, whatever the encoder was made for."""
    return _score(encoder, EncodingCounts())


def score_base(encoder: Embedder) -> float | None:
    """Return what `score_general` does; None if that figure says nothing of this encoder.

    It says nothing if over 30% of the tokens are unknown to it, or the figure is below 0.3. This
    is to be asked of the base only: a tuned encoder below 0.3 has forgotten.
    """
    counts = EncodingCounts()
    score = _score(encoder, counts)
    meant_for_it = counts.unknown_share <= MOST_UNKNOWN and score >= LEAST_BASE_SCORE
    return score if meant_for_it else None


def _score(encoder: Embedder, counts: EncodingCounts) -> float:
    scores = evaluate_retrieval(encoder, general_task(), counts=counts)
    return scores.means()[GENERAL_METRIC]


def mix(base: Mapping[str, Tensor], tuned: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """Return share * tuned + (1 - share) * base, tensor by tensor (WiSE-FT, Wortsman et al. 2022).

    Computed in float32 (of float64 in float64), kept in the dtype and on the device of `tuned`.
    What does not hold fractions, such as a counter, is that of `tuned`, and a tensor that is the
    same in both is that one, to the bit. Every tensor is a copy.

    Raises:
        InvalidInput: `share` is not 0 to 1, or the two have not the same tensors.
    """
    import torch

    if not 0 <= share <= 1:
        raise InvalidInput(f"the share of the tuned weights must be 0 to 1, got {share}")
    _check_same_tensors(base, tuned)
    mixed: dict[str, Tensor] = {}
    for name, after in tuned.items():
        same = torch.equal(base[name].detach().to(after.device), after.detach())
        if same or not after.is_floating_point():
            mixed[name] = after.detach().clone()
            continue
        exact = torch.promote_types(after.dtype, torch.float32)
        before = base[name].detach().to(after.device, exact)
        mixed[name] = (share * after.detach().to(exact) + (1 - share) * before).to(after.dtype)
    return mixed


def _check_same_tensors(base: Mapping[str, Tensor], tuned: Mapping[str, Tensor]) -> None:
    for name in [*tuned, *base]:
        shapes = [tuple(each[name].shape) if name in each else None for each in (base, tuned)]
        if shapes[0] != shapes[1]:
            told = ["no such tensor" if shape is None else f"shape {shape}" for shape in shapes]
            raise InvalidInput(
                f"weights can only be mixed tensor by tensor: {name!r} is {told[0]} in the base "
                f"and {told[1]} in the tuned encoder (mix two states of one network)"
            )


def mixing_curve(
    score: Callable[[float], tuple[float | None, float]], *, shares: Sequence[float] = SHARES
) -> list[MixPoint]:
    """Return the curve of a mixture: `score` gives of a share the scores (dev, general)."""
    return [MixPoint(share, *score(share)) for share in shares]


def choose_share(points: Sequence[MixPoint], *, floor: float) -> MixPoint:
    """Return the point with the best dev score among those that reach `floor` in general.

    Without dev scores the one with the largest share. If none reaches the floor, the one with the
    best general score; of equal ones the largest share.

    Raises:
        InvalidInput: there are no points.
    """
    if not points:
        raise InvalidInput("no mixture was scored; at least one share is needed to choose from")
    if kept := [point for point in points if point.general >= floor]:
        return max(kept, key=lambda point: (point.dev or 0.0, point.share))
    return max(points, key=lambda point: (point.general, point.share))
