"""An index and the encoder that it is bound to."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from simsearch.cache import file_sha256
from simsearch.encoder import (
    Calibration,
    Encoder,
    EncodingCounts,
    ModelMoved,
    PairScorer,
    Precision,
    UnreadableText,
    pair_scorer_text,
    read_export,
    truncate_embeddings,
)
from simsearch.errors import CorruptIndex, EncoderError, EncoderMismatch, InvalidInput
from simsearch.files import is_plain_file
from simsearch.records import Document, Passage

FloatArray = npt.NDArray[np.float32]

# The settings of an index that hold what its encoder knows beside its embeddings, as JSON.
CALIBRATION = "calibration"
PAIR_SCORER = "pair_scorer"


class Embedder(Protocol):
    """What gives texts their embeddings; all that a score needs of an encoder."""

    @property
    def dim(self) -> int: ...
    def encode_queries(self, texts: Sequence[str]) -> FloatArray: ...
    def encode_documents(
        self, texts: Sequence[str], *, counts: EncodingCounts | None = None
    ) -> FloatArray: ...


class TextEncoder(Embedder, Protocol):
    """What an index needs of an encoder; `Encoder` is one."""

    @property
    def name(self) -> str: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def calibration(self) -> Calibration | None: ...
    @property
    def pair_scorer(self) -> PairScorer | None: ...
    def reads(self, text: str) -> bool:
        """Whether there is anything in a text that the encoder reads."""
        ...

    def split_documents(self, documents: Sequence[Document]) -> list[list[Passage]]:
        """Return each document's passages in order, which fit the window.

        A document that fits it is one passage.
        """
        ...

    def save_export(self, directory: Path) -> None:
        """Write what `SearchIndex.open` needs to answer queries without the model."""
        ...


def fitted(embeddings: FloatArray, dim: int) -> FloatArray:
    """Return embeddings (n, d) as an index of `dim` keeps them: truncated to it, if d is more."""
    return embeddings if embeddings.shape[1] == dim else truncate_embeddings(embeddings, dim)


def query_embeddings(encoder: TextEncoder, queries: Sequence[str], dim: int) -> FloatArray:
    """Return the embeddings of queries, (n, dim), to be compared with those of an index.

    Raises:
        InvalidInput: the encoder reads nothing in a query.
    """
    try:
        return fitted(encoder.encode_queries(queries), dim)
    except UnreadableText as error:
        name = "query" if len(queries) == 1 else f"query {error.position}"
        raise InvalidInput(f"{name} {error.reason}") from error


def bind_encoder(encoder: TextEncoder, directory: Path, *, dim: int) -> dict[str, str]:
    """Copy an encoder into the directory of a new index; return the settings that bind them.

    Its calibration is one of them, if it is of vectors of this `dim`; its pair scorer, if they
    are whole.
    """
    encoder.save_export(directory / "encoder")
    scorer = encoder.pair_scorer if dim == encoder.dim else None
    calibration = encoder.calibration
    fits = calibration is not None and calibration.fits(encoder.fingerprint, dim)
    return {
        **({PAIR_SCORER: pair_scorer_text(scorer)} if scorer else {}),
        **({CALIBRATION: json.dumps(calibration.as_dict())} if calibration and fits else {}),
        "encoder": encoder.name,
        "encoder_sha256": _description_sha256(directory),
        "fingerprint": encoder.fingerprint,
    }


class VectorSpace(NamedTuple):
    """What vectors must have in common to be compared."""

    fingerprint: str
    dim: int


def space_of(constants: Mapping[str, str]) -> VectorSpace:
    """Return the space in which the vectors of an index lie."""
    return VectorSpace(constants["fingerprint"], int(constants["dim"]))


def refuse_other_encoder(constants: Mapping[str, str], encoder: TextEncoder) -> None:
    """Refuse an encoder whose vectors cannot be compared with those of the index.

    Raises:
        EncoderMismatch: it has another fingerprint, or a smaller dim.
    """
    stored, given = constants["fingerprint"], encoder.fingerprint
    if stored != given or encoder.dim < int(constants["dim"]):
        raise EncoderMismatch(
            f"the index was built with encoder {constants['encoder']} "
            f"({stored[:12]}, dim {constants['dim']}), got {encoder.name} ({given[:12]}, "
            f"dim {encoder.dim}); use the original encoder, or bring the index to this one: "
            "`simsearch reindex INDEX_DIR --encoder MODEL`"
        )


def check_own_encoder(directory: Path, constants: Mapping[str, str], *, of: Path) -> None:
    """Verify, without loading it, the encoder in a copy of the index `of`, if that keeps one.

    Raises:
        CorruptIndex: it is missing, damaged or another one.
    """
    if not constants["encoder_sha256"]:
        return
    _refuse_other_description(directory, constants, of=of)
    try:
        read_export(directory / "encoder")
    except EncoderError as error:
        raise CorruptIndex(f"{of}: the index's copy of its encoder: {error}") from error


def _refuse_other_description(directory: Path, constants: Mapping[str, str], *, of: Path) -> None:
    expected = constants["encoder_sha256"]
    linked = (directory / "encoder").is_symlink()  # which no copy or compaction would follow
    if linked or not expected or _description_sha256(directory) != expected:
        raise CorruptIndex(
            f"{of / 'encoder'} is missing or damaged (open the index with encoder=, or run "
            f"`simsearch repair {of} --encoder MODEL`)"
        )


def load_own_encoder(
    path: Path, constants: Mapping[str, str], precision: Precision | None = None
) -> Encoder:
    """Load the copy of its encoder that an index keeps.

    Raises:
        CorruptIndex: the copy is missing, damaged or another one.
        ModelMoved: the encoder runs only from its full model, which is not there any more.
    """
    # The database names the description, which names graph and tokenizer: a file of the copy
    # that was damaged or swapped cannot answer queries wrongly.
    _refuse_other_description(path, constants, of=path)
    try:
        encoder = Encoder.load(path / "encoder", precision=precision)
    except ModelMoved:
        raise
    except EncoderError as error:
        raise CorruptIndex(f"the index's copy of its encoder: {error}") from error
    refuse_other_encoder(constants, encoder)
    return encoder


def own_precision(path: Path) -> str:
    """Return the precision of the copy of its encoder that an index keeps, "unknown" without it."""
    # The first copies do not name it.
    return str(_own_description(path, {"precision": "unknown"}).get("precision", Precision.FP32))


def own_dim(path: Path) -> int | None:
    """Return the dim of the copy of its encoder that an index keeps, None without it."""
    found = _own_description(path, {}).get("dim")
    return found if isinstance(found, int) else None


def _own_description(path: Path, default: dict[str, Any]) -> dict[str, Any]:
    try:
        content = json.loads(_description(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return default
    return content if isinstance(content, dict) else default


def _description_sha256(directory: Path) -> str:
    """Return the hash of the encoder copy's description, "" where there is none."""
    try:
        return file_sha256(_description(directory))
    except OSError:
        return ""


def _description(directory: Path) -> Path:
    path = directory / "encoder" / "encoder.json"
    # A link leads out of the index; what it or a device holds is not even to be read.
    if not is_plain_file(path):
        raise FileNotFoundError(path)
    return path
