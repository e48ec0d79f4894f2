"""`simsearch check`: what of an index is not as it should be."""

from __future__ import annotations

import glob
import os
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from simsearch.ann import recall_with_interval, recalled
from simsearch.cache import file_sha256, hash_file
from simsearch.encoder import ModelMoved
from simsearch.errors import CorruptIndex, SimsearchError
from simsearch.files import is_plain_file, occupied
from simsearch.records import Document, is_blank, whole_passage
from simsearch.search_index.backup import manifest_findings
from simsearch.search_index.binding import TextEncoder, fitted
from simsearch.search_index.bulk import BUILD
from simsearch.search_index.directory import marker_line, replacing_place, verify_format
from simsearch.search_index.generations import (
    PREVIOUS,
    building_place,
    moved_place,
    previous_place,
)
from simsearch.search_index.index import SearchIndex
from simsearch.search_index.passages import LongTexts
from simsearch.storage import MANIFEST, Finding, Inspection, Salvaged, Severity, lock_holder

FloatArray = npt.NDArray[np.float32]

_OURS = frozenset(
    {
        "FORMAT",
        "LOCK",
        "COMMITTED",
        "BUILD",
        MANIFEST,
        "meta.db",
        "meta.db-wal",
        "meta.db-shm",
    }
    | {"encoder", "quarantine", "segments", PREVIOUS}
)
_SEARCHED = 200  # documents that are looked for by their own vector
_ENCODED = 20  # texts that are encoded again
# Documents may have been encoded in bfloat16, which is accepted down to this cosine.
_SAME = 0.999


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What was found; nothing where an index is sound."""

    path: str
    quick: bool
    findings: tuple[Finding, ...]

    @property
    def worst(self) -> Severity | None:
        """The worst severity of a finding."""
        present = {each.severity for each in self.findings}
        order = (Severity.DAMAGE, Severity.WARNING, Severity.NOTE)
        return next((severity for severity in order if severity in present), None)


def check_index(
    path: str | os.PathLike[str], *, quick: bool = False, encoder: TextEncoder | None = None
) -> CheckReport:
    """Check an index and change nothing in it; writers may go on.

    `quick` looks at everything but vectors, texts and encoder. The full check reads every row,
    searches for 200 documents by their own vector, and encodes 20 texts again, by the index's own
    copy of its encoder or the given one.

    Raises:
        NotFound: there is no index at `path`.
        IncompatibleIndex: it has another format.
    """
    path = Path(path).resolve()
    findings = _check_marker(path) + _check_files(path)
    found, samples = _read(path, quick=quick)
    findings += found + _check_previous(path, quick=quick)
    if not quick:
        findings += manifest_findings(path)
        findings += _check_encoder_files(path)
        if all(each.severity is not Severity.DAMAGE for each in findings):
            findings += _use(path, samples, encoder)
    return CheckReport(str(path), quick, tuple(findings))


def _read(path: Path, *, quick: bool) -> tuple[list[Finding], list[tuple[Salvaged, FloatArray]]]:
    """Read a database, and return what is wrong with it, and the samples of `_read_all`."""
    findings, samples = list[Finding](), list[tuple[Salvaged, FloatArray]]()
    try:
        with Inspection(path) as inspection:
            inspection.ask_sqlite(quick=quick)
            inspection.read_segments(quick=quick)
            if not quick:
                samples = _read_all(inspection, findings)
            findings += inspection.findings
            if all(each.code != "format" for each in findings):
                findings += _compare_marker(path, inspection.constants)
    except CorruptIndex as error:
        findings.append(Finding(Severity.DAMAGE, "database", str(path / "meta.db"), str(error)))
    return findings, samples


def _check_marker(path: Path) -> list[Finding]:
    try:
        verify_format(path)
    except CorruptIndex as error:
        return [Finding(Severity.DAMAGE, "format", str(path / "FORMAT"), str(error))]
    return []


def _compare_marker(path: Path, constants: dict[str, str]) -> list[Finding]:
    marker = path / "FORMAT"
    if not marker.is_file():  # which was said
        return []
    if marker.read_bytes() == marker_line(constants["created_by"]).encode():
        return []
    return [Finding(Severity.WARNING, "format", str(marker), "is not what simsearch wrote")]


def _check_files(path: Path) -> list[Finding]:
    beside = building_place(path), moved_place(path), replacing_place(path)
    findings = [
        Finding(Severity.NOTE, "unlisted", str(entry), "is no part of the index", "delete it")
        for entry in sorted(path.iterdir())
        if entry.name not in _OURS
    ]
    findings += [
        Finding(Severity.NOTE, "draft", str(entry), "was left by a killed process", "delete it")
        for place in (path, *beside)
        for entry in sorted(path.parent.glob(f".{glob.escape(place.name)}.draft-*"))
        if lock_holder(entry) is None  # else its maker lives
    ]
    generation = "is a generation that does not answer: what a reindex or a rollback began"
    replacement = "was to replace the index, and was cut short"
    findings += [
        _begun(place, code, what)
        for place, code, what in (
            (beside[0], "generation", generation),
            (beside[1], "generation", generation),
            (beside[2], "replacement", replacement),
        )
        if occupied(place)
    ]
    holder = lock_holder(path / "LOCK")
    if holder is not None:
        findings.append(Finding(Severity.NOTE, "locked", str(path / "LOCK"), f"held by {holder}"))
    database = path / "meta.db"
    everybody = path.stat().st_mode & 0o005
    if everybody and database.is_file() and database.stat().st_mode & 0o004:
        what, remedy = "may be read by every user of the machine", f"chmod -R go= {path}"
        findings.append(Finding(Severity.WARNING, "permissions", str(path), what, remedy))
    return findings


def _begun(place: Path, code: str, what: str) -> Finding:
    """Return the finding of an index beside the one that answers, be it built right now."""
    holder = lock_holder(place / BUILD)
    if holder is not None:
        return Finding(Severity.NOTE, code, str(place), f"is being built by {holder}")
    return Finding(Severity.NOTE, code, str(place), what, "run the same again, or delete it")


def _read_all(inspection: Inspection, findings: list[Finding]) -> list[tuple[Salvaged, FloatArray]]:
    """Read every row, and return documents at even distances, with their first vector."""
    inspection.read_blocks()
    samples, seen = list[tuple[Salvaged, FloatArray]](), dict[str, str]()
    step = max(1, inspection.variables["living_rows"] // _SEARCHED)
    for number, found in enumerate(inspection.read_documents()):
        id_ = found.document.id
        twin = seen.setdefault(unicodedata.normalize("NFC", id_), id_)
        if twin != id_:
            what = f"the ids {twin!r} and {id_!r} look the same and are two documents"
            findings.append(Finding(Severity.WARNING, "ids", str(inspection.path), what))
        if number % step == 0 and len(samples) < _SEARCHED:
            vectors = inspection.vectors(found.first_row, 1)
            if vectors is not None:
                samples.append((found, vectors[0]))
    inspection.compare_lexical()
    inspection.read_judgements()
    return samples


def _check_previous(path: Path, *, quick: bool) -> list[Finding]:
    """Find damage of the generation before, which is a warning: it answers nothing."""
    place = previous_place(path)
    if not occupied(place):
        return []
    try:
        found = _check_marker(place) + _read(place, quick=quick)[0]
        found += [] if quick else _check_encoder_files(place)
    except SimsearchError as error:  # no index at all, or one of another format
        found = [Finding(Severity.DAMAGE, "format", str(place), str(error))]
    remedy = f"run `simsearch repair {place}`, or delete it: `simsearch compact {path}`"
    return [
        replace(each, severity=Severity.WARNING, remedy=remedy)
        for each in found
        if each.severity is Severity.DAMAGE
    ]


def _check_encoder_files(path: Path) -> list[Finding]:
    """Find files that changed although their state, by which their hash is remembered, did not."""
    folder = path / "encoder"
    files = sorted(each for each in folder.rglob("*") if is_plain_file(each))
    return [
        Finding(
            Severity.DAMAGE,
            "encoder",
            str(file),
            "its bytes changed since it was verified",
            f"run `simsearch repair {path} --encoder MODEL`",
        )
        for file in files
        if hash_file(file) != file_sha256(file)
    ]


def _use(
    path: Path, samples: Sequence[tuple[Salvaged, FloatArray]], encoder: TextEncoder | None
) -> list[Finding]:
    """Search and encode, and find what comes out wrong."""
    copy = str(path / "encoder")
    try:
        with SearchIndex.open(path, encoder=encoder) as index:
            findings = _search(index, samples)
            try:
                return findings + _encode(index, samples)
            except ModelMoved as error:
                return [*findings, Finding(Severity.WARNING, "encoder", copy, str(error))]
            except SimsearchError as error:
                remedy = f"run `simsearch repair {path} --encoder MODEL`"
                return [*findings, Finding(Severity.DAMAGE, "encoder", copy, str(error), remedy)]
    except SimsearchError as error:
        remedy = f"run `simsearch repair {path}`"
        return [Finding(Severity.DAMAGE, "use", str(path), str(error), remedy)]


def _search(index: SearchIndex, samples: Sequence[tuple[Salvaged, FloatArray]]) -> list[Finding]:
    if not samples:
        return []
    vectors = np.stack([vector for _, vector in samples])
    hits = index.search_vectors(vectors, k=1, exact=True)
    lost = [
        found.document.id
        for (found, _), its in zip(samples, hits, strict=True)
        # Another document of the same vector may come first; and a writer may have been here since.
        if (not its or its[0].score < 1 - 1e-4) and index.get(found.document.id) == found.document
    ]
    if lost:
        what = f"{len(lost)} of {len(samples)} documents are not found by their own vector"
        return [Finding(Severity.DAMAGE, "recall", str(index.path), f"{what}: {lost[0]!r}")]
    with index.live_rows() as (rows, _):
        k = index.target.k
        exact, found_ = (rows.search(vectors, k, exact=each)[1] for each in (True, False))
    recall = recall_with_interval(recalled(found_, exact), k)
    if recall.high >= index.target.recall:
        return []
    what = f"recall@{k} of {len(samples)} documents is {recall.value:.4f}, "
    what += f"the target {index.target.recall:g}"
    remedy = f"run `simsearch tune {index.path}`"
    return [Finding(Severity.WARNING, "recall", str(index.path), what, remedy)]


def _encode(index: SearchIndex, samples: Sequence[tuple[Salvaged, FloatArray]]) -> list[Finding]:
    own = index.encoder  # loaded in any case: it may be damaged
    # An index made before such texts were refused may hold one in which the encoder reads nothing.
    chosen = [
        each
        for each in samples
        if not each[0].supplied and _has_a_vector(own, each[0].document.content)
    ]
    chosen = chosen[:: max(1, len(chosen) // _ENCODED)][:_ENCODED]
    if not chosen:
        return []
    texts = _first_contents(index, [found.document for found, _ in chosen])
    again = fitted(own.encode_documents(texts), index.dim)
    cosines = (again * np.stack([vector for _, vector in chosen])).sum(axis=1)
    other = [found.document.id for (found, _), c in zip(chosen, cosines, strict=True) if c < _SAME]
    if not other:
        return []
    what = (
        f"{len(other)} of {len(chosen)} texts have another vector when they are encoded again "
        f"(cosine {cosines.min():.4f}): {other[0]!r}"
    )
    return [Finding(Severity.DAMAGE, "encoding", str(index.path), what, "index the corpus again")]


def _has_a_vector(encoder: TextEncoder, text: str) -> bool:
    return not is_blank(text) and encoder.reads(text)


def _first_contents(index: SearchIndex, documents: Sequence[Document]) -> list[str]:
    if index.long_texts is LongTexts.PASSAGES:
        return [passages[0].content for passages in index.encoder.split_documents(documents)]
    return [whole_passage(document).content for document in documents]
