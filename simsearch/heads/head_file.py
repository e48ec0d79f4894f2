"""A head on disk: `head.json`, and its numbers in `head.safetensors`. No code, no pickle.

A head is bound to the encoder whose outputs it was fitted to: it carries that one's fingerprint,
and the name under which it was loaded, so that `--head` alone suffices.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np

from simsearch.cache import file_sha256
from simsearch.encoder import Encoder, locate_encoder
from simsearch.encoder.runtime import FloatArray
from simsearch.encoder.tensors import read_tensors, write_tensors
from simsearch.errors import (
    AlreadyExists,
    EncoderError,
    EncoderMismatch,
    InvalidInput,
    NotFound,
)
from simsearch.files import check_parents, new_directory, occupied

HEAD_FORMAT = 1
HEAD_FILE = "head.json"
TENSORS = "head.safetensors"
_NO_METADATA = frozenset({"id", "text", "title"})
_FIELD = re.compile(r"[A-Za-z0-9_-]{1,64}")


class HeadKind(StrEnum):
    """What a head says of a text."""

    CLASSIFIER = "classifier"
    TAGGER = "tagger"

    def fields(self, field: str) -> tuple[str, ...]:
        """Return the metadata fields of a head whose own is `field`; a tagger has one a label, too.

        Those have a point in their names, which no field of a head has.
        """
        if self is HeadKind.CLASSIFIER:
            return field, f"{field}_probability"
        return (field,)


@dataclass(frozen=True, slots=True)
class EncoderReference:
    """The encoder that a head belongs to.

    `beside` is the way to it from the head's directory, where the two go together; "" otherwise.
    """

    name: str
    fingerprint: str
    dim: int
    beside: str = ""

    @classmethod
    def of(cls, encoder: Encoder) -> EncoderReference:
        """Return the reference to a loaded encoder; a directory is named by its full path."""
        name = encoder.name
        directory = Path(name)
        return cls(
            name=str(directory.resolve()) if directory.is_dir() else name,
            fingerprint=encoder.fingerprint,
            dim=encoder.dim,
        )

    def seen_from(self, head: Path) -> EncoderReference:
        """Return the reference of a head that lies there: what goes with it may have moved."""
        if self.beside and ((place := (head / self.beside).resolve()) / "modules.json").is_file():
            return replace(self, name=str(place), beside="")
        return replace(self, beside="")

    def check(self, encoder: Encoder) -> None:
        """Refuse another encoder.

        Raises:
            EncoderMismatch: its fingerprint is not the one of the reference.
        """
        if encoder.fingerprint != self.fingerprint:
            raise EncoderMismatch(
                f"the head was trained on encoder {self.fingerprint[:12]} ({self.name}), got "
                f"{encoder.fingerprint[:12]} ({encoder.name}); give that encoder, or train the "
                "head again"
            )

    def load(self, name: str | os.PathLike[str] | None = None) -> Encoder:
        """Load the encoder, from another place if one is named, and check that it is the one.

        What the head says of the place is another's word: nothing is fetched from a hub for it.

        Raises:
            EncoderError: it is not where the head says.
            EncoderMismatch: another one is.
        """
        encoder = Encoder.load(self.place() if name is None else name)
        self.check(encoder)
        return encoder

    def place(self) -> str:
        """Return where the encoder is, if it is still there.

        Raises:
            EncoderError: it is not where the head says.
        """
        try:
            if not Path(self.name).is_dir():
                locate_encoder(self.name, fetch=False)
        except (EncoderError, OSError, ValueError) as error:
            raise EncoderError(
                f"the encoder of this head is not where it was, {self.name}: {error} (name its "
                "place: --encoder)"
            ) from error
        return self.name


def check_field(field: str) -> str:
    """Return a name for the metadata field that a head's predictions go to.

    Raises:
        InvalidInput: it is none.
    """
    if not _FIELD.fullmatch(field):
        raise InvalidInput(f"--field must be 1 to 64 of A-Z a-z 0-9 _ -, got {field!r}")
    if field in _NO_METADATA:
        raise InvalidInput(f"--field must not be {field!r}, which every document has already")
    return field


def check_head_place(path: Path, *, replace: bool) -> None:
    """Refuse a place where a head cannot be written, before it is trained.

    Raises:
        AlreadyExists: something is there; what is no head is not replaced at all.
        SystemFailure: no directory can be made there.
    """
    check_parents(path)
    if not occupied(path):
        return
    if not (path / HEAD_FILE).is_file():
        raise AlreadyExists(f"{path} exists and is no head, which is never replaced")
    if not replace:
        raise AlreadyExists(f"{path} exists already (choose another name, or --replace)")


def write_head(
    path: Path,
    kind: HeadKind,
    encoder: EncoderReference,
    settings: Mapping[str, Any],
    tensors: Mapping[str, FloatArray],
    *,
    replace: bool,
) -> None:
    """Write a head to a directory, whole or not at all.

    Raises:
        AlreadyExists: see `check_head_place`.
    """
    check_head_place(path, replace=replace)
    with new_directory(path, replace=replace) as draft:
        write_tensors(draft / TENSORS, tensors)
        content = {
            "format": HEAD_FORMAT,
            "kind": kind,
            "encoder": asdict(encoder),
            "sha256": file_sha256(draft / TENSORS),
            **settings,
        }
        text = json.dumps(content, indent=2, ensure_ascii=False)
        (draft / HEAD_FILE).write_text(text + "\n", encoding="utf-8")


@dataclass(frozen=True, slots=True, eq=False)
class HeadContent:
    """What a head's directory holds, read and checked as far as all heads are alike."""

    path: Path
    kind: HeadKind
    encoder: EncoderReference
    settings: Mapping[str, Any]
    tensors: Mapping[str, FloatArray]

    def names(self, key: str) -> tuple[str, ...]:
        """Return a list of distinct names.

        Raises:
            EncoderError: the head has none there.
        """
        value = self.settings.get(key)
        if (
            not isinstance(value, list)
            or not value
            or not all(isinstance(name, str) and name for name in value)
            or len(set(value)) < len(value)
        ):
            raise EncoderError(f"{self.path / HEAD_FILE}: {key!r} must be a list of names")
        return tuple(value)

    def field(self) -> str:
        """Return the metadata field that the head writes to.

        Raises:
            EncoderError: there is none, or it is no name of a field.
        """
        try:
            return check_field(self.setting("field", str))
        except InvalidInput as error:
            raise EncoderError(f"{self.path / HEAD_FILE}: {error}") from error

    def setting(self, key: str, kind: type[Any]) -> Any:
        """Return a setting of that type.

        Raises:
            EncoderError: there is none.
        """
        value = self.settings.get(key)
        if type(value) is not kind:
            raise EncoderError(
                f"{self.path / HEAD_FILE}: {key!r} must be of type {kind.__name__}, got {value!r}"
            )
        return value

    def tensor(self, name: str, *shape: int) -> FloatArray:
        """Return an array of that shape, finite throughout.

        Raises:
            EncoderError: there is none.
        """
        array = self.tensors.get(name)
        if array is None or array.shape != shape or array.dtype != np.float32:
            found = "nothing" if array is None else f"{array.dtype} {array.shape}"
            raise EncoderError(
                f"{self.path / TENSORS}: {name!r} must be float32 {shape}, got {found}"
            )
        if not np.isfinite(array).all():
            raise EncoderError(f"{self.path / TENSORS}: {name!r} is not finite throughout")
        return array


def read_head(path: Path) -> HeadContent:
    """Read a head's directory.

    Raises:
        NotFound: there is no head.
        EncoderError: it is damaged, or of another version.
    """
    described = path / HEAD_FILE
    if not described.is_file():
        raise NotFound(f"{path} is no head: there is no {HEAD_FILE} in it")
    if not (path / TENSORS).is_file():
        raise EncoderError(
            f"{path} is damaged: there is no {TENSORS} in it (copy the head again, or train it "
            "again)"
        )
    try:
        content = json.loads(described.read_text(encoding="utf-8"))
        if not isinstance(content, dict) or content.get("format") != HEAD_FORMAT:
            raise EncoderError(f"{described}: expected format {HEAD_FORMAT} (another version's)")
        kind = HeadKind(content["kind"])
        encoder = EncoderReference(**content["encoder"])
        said = (encoder.name, encoder.fingerprint, encoder.beside)
        if not all(isinstance(text, str) for text in said) or not encoder.name:
            raise EncoderError(f"{described}: names no encoder")
        if type(encoder.dim) is not int or not 1 <= encoder.dim <= 1 << 20:
            raise EncoderError(f"{described}: {encoder.dim!r} is no width of embeddings")
        if file_sha256(path / TENSORS) != content["sha256"]:
            raise EncoderError(f"{path / TENSORS} is damaged: its SHA-256 has changed")
        tensors = read_tensors(path / TENSORS)
        encoder = encoder.seen_from(path)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EncoderError(f"{described}: {error}") from error
    except RecursionError as error:
        raise EncoderError(f"{described}: nested too deeply") from error
    return HeadContent(path, kind, encoder, content, tensors)
