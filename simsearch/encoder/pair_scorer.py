"""The pair scorer: which relation holds between two texts, read from their two embeddings.

It is the decoder that the objective `softmax` trains with the encoder: a linear map of
[u; v; |u - v|], and softmax (Reimers & Gurevych 2019, section 3). It needs no torch.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from simsearch.cache import file_sha256
from simsearch.encoder.model_file import MODEL_FILE, read_model_file
from simsearch.encoder.runtime import FloatArray
from simsearch.encoder.tensors import read_tensors, write_tensors
from simsearch.errors import EncoderError

if TYPE_CHECKING:
    from simsearch.encoder.encoder import Encoder

PAIR_SCORER = "pair_scorer.safetensors"
Float = TypeVar("Float", np.float32, np.float64)


def pair_features(first: npt.NDArray[Float], second: npt.NDArray[Float]) -> npt.NDArray[Float]:
    """Return [u; v; |u - v|] of each pair of embeddings u, v.

    Shape: (n, dim) and (n, dim) -> (n, 3 dim).
    """
    return np.concatenate([first, second, np.abs(first - second)], axis=1)


@dataclass(frozen=True, slots=True)
class PairScorer:
    """A linear map of two embeddings to classes: `weight` (classes, 3 dim), `bias` (classes,)."""

    classes: tuple[str, ...]
    weight: FloatArray
    bias: FloatArray

    def probabilities(self, first: FloatArray, second: FloatArray) -> FloatArray:
        """Return the probability of each class for each pair of embeddings.

        The order matters: of two texts the first is, for instance, the premise.
        Shape: (n, dim) and (n, dim) -> (n, classes).
        """
        logits = pair_features(first, second) @ self.weight.T + self.bias
        raised = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities: FloatArray = raised / raised.sum(axis=1, keepdims=True)
        return probabilities


def write_pair_scorer(directory: Path, scorer: PairScorer) -> dict[str, Any]:
    """Write a scorer into a model directory; return what `simsearch.json` has to say of it."""
    path = directory / PAIR_SCORER
    write_tensors(path, {"weight": scorer.weight, "bias": scorer.bias})
    return {"classes": list(scorer.classes), "sha256": file_sha256(path)}


def pair_scorer_text(scorer: PairScorer) -> str:
    """Return a scorer as text, which `pair_scorer_from` reads: JSON, numbers in base64."""
    return json.dumps(
        {
            "classes": list(scorer.classes),
            "weight": _encoded(scorer.weight),
            "bias": _encoded(scorer.bias),
        }
    )


def pair_scorer_from(text: str) -> PairScorer:
    """Return the scorer that a text holds.

    Raises:
        EncoderError: it holds none.
    """
    try:
        content = json.loads(text)
        classes = tuple(map(str, content["classes"]))
        weight = _decoded(content["weight"]).reshape(len(classes), -1)
        bias = _decoded(content["bias"])
    except (ValueError, KeyError, TypeError) as error:
        raise EncoderError(f"no pair scorer: {error!r}") from error
    if not classes or bias.shape != (len(classes),) or not weight.size:
        raise EncoderError(f"a pair scorer of {len(classes)} classes has a bias of {bias.shape}")
    return PairScorer(classes, weight, bias)


def _encoded(numbers: FloatArray) -> str:
    return base64.b64encode(numbers.astype("<f4").tobytes()).decode("ascii")


def _decoded(text: str) -> FloatArray:
    return np.frombuffer(base64.b64decode(text, validate=True), dtype="<f4").astype(np.float32)


def load_pair_scorer(encoder: Encoder) -> PairScorer:
    """Return the pair scorer that was trained with an encoder, from its model directory.

    Raises:
        EncoderError: the encoder has none, or it is damaged, or was trained with other weights.
    """
    directory = encoder.directory
    content = read_model_file(directory) if directory is not None else {}
    described = content.get("pair_scorer")
    if directory is None or not described:
        raise EncoderError(
            f"{encoder.name} has no pair scorer (`simsearch finetune --objective softmax` makes "
            "one)"
        )
    if content.get("fingerprint") != encoder.fingerprint:
        raise EncoderError(f"{directory / MODEL_FILE}: the weights beside it have changed")
    return _read(directory, described, dim=encoder.dim)


def find_pair_scorer(directory: Path | None, fingerprint: str, dim: int) -> PairScorer | None:
    """Return the pair scorer in a model directory; None without one, or if it is of other weights.

    Raises:
        EncoderError: it is damaged.
    """
    content = {} if directory is None else read_model_file(directory)
    described = content.get("pair_scorer")
    if directory is None or not described or content.get("fingerprint") != fingerprint:
        return None
    return _read(directory, described, dim=dim)


def _read(directory: Path, described: Any, *, dim: int) -> PairScorer:
    path = directory / PAIR_SCORER
    try:
        if file_sha256(path) != described["sha256"]:
            raise EncoderError(f"{path} is damaged: its SHA-256 has changed")
        tensors = read_tensors(path)
        scorer = PairScorer(tuple(described["classes"]), tensors["weight"], tensors["bias"])
    except (OSError, KeyError, TypeError) as error:
        raise EncoderError(f"{path}: {error}") from error
    classes, width = len(scorer.classes), 3 * dim
    if scorer.weight.shape != (classes, width) or scorer.bias.shape != (classes,):
        raise EncoderError(
            f"{path}: the scorer's shape is {scorer.weight.shape}, expected {(classes, width)}"
        )
    return scorer
