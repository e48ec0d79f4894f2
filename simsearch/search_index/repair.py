"""`simsearch repair`: what can be made anew is, what is lost is named, nothing is thrown away."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from simsearch.errors import CorruptIndex, EncoderMismatch, IncompatibleIndex, SimsearchError
from simsearch.failpoints import failpoint
from simsearch.files import (
    copy_tree,
    draft_directory,
    install_directory,
    link_or_copy,
    remove_entry,
    sync_directory,
    translated_os_errors,
)
from simsearch.records import Document, whole_passage
from simsearch.search_index.backup import manifest_findings
from simsearch.search_index.binding import (
    CALIBRATION,
    TextEncoder,
    bind_encoder,
    fitted,
    load_own_encoder,
)
from simsearch.search_index.building import build_again
from simsearch.search_index.directory import verify_format
from simsearch.search_index.generations import PREVIOUS
from simsearch.search_index.passages import LongTexts, encode_passages
from simsearch.search_index.rewriting import carry_over, rewrite_store, vectors_of
from simsearch.storage import (
    MANIFEST,
    Finding,
    Inspection,
    PassageRows,
    Severity,
    is_backup,
    refuse_read_only,
    writer_lock,
)

FloatArray = npt.NDArray[np.float32]

_ORIGINALS = ("meta.db", "meta.db-wal", "COMMITTED", "FORMAT", MANIFEST)


@dataclass(frozen=True, slots=True)
class RepairReport:
    """What a repair did, or with `dry_run` would do.

    `documents` are in the index afterwards; `encoded` of them got their vectors anew from their
    stored text. `lost` are the ids of documents whose vectors a caller supplied and which are
    damaged: only who supplied them has them. What is not even named any more is in `findings`.
    `quarantine` is where the originals are, None if they are as they were. `segments` were built
    anew; they are derived, so nothing of them is kept.
    """

    path: str
    dry_run: bool
    findings: tuple[Finding, ...]
    documents: int
    encoded: int
    lost: tuple[str, ...]
    encoder_renewed: bool
    quarantine: str | None
    segments: int = 0

    @property
    def complete(self) -> bool:
        """Whether nothing is lost, and nothing is left damaged."""
        gone = {"documents", "judgements", "lost-commits"}
        if not self.encoder_renewed:
            gone.add("encoder")
        return not self.lost and not gone & {each.code for each in self.findings}


def repair_index(
    path: str | os.PathLike[str], *, encoder: TextEncoder | None = None, dry_run: bool = False
) -> RepairReport:
    """Bring a damaged index into a state that is sound, out of what can be read of it.

    Vectors that are lost are encoded again from the stored text, by the index's own copy of its
    encoder or the given one; with the latter a damaged copy is replaced too. The originals are
    moved to `quarantine/`. An index that is sound is left as it is; if only segments are damaged,
    they alone are built anew. A damaged backup becomes an index, with the same originals.

    Raises:
        NotFound, IncompatibleIndex: there is no index at `path`, or one of another format.
        IndexLocked: somebody is writing to it.
        CorruptIndex: too little can be read: restore a backup.
        EncoderMismatch: `encoder` is not the one that built the index.
        EncoderError: texts are to be encoded and there is no encoder.
    """
    path = Path(path).resolve()
    _check_marker(path)  # before a lock is left in what is no index
    if not dry_run and not is_backup(path):
        refuse_read_only(path)
    with contextlib.nullcontext() if dry_run else writer_lock(path / "LOCK"):
        findings = _check_marker(path)
        with Inspection(path) as inspection:
            if encoder is not None:
                _refuse_other(inspection, encoder)
            kept, to_encode, lost = _read(inspection)
            findings += inspection.findings
            renewed = _encoder_damage(path, inspection, findings)
            if renewed and encoder is None and len(findings) == 1:
                what = findings[0].what  # which may end with the way out
                way = "" if what.endswith(")") else " (repair needs the model: --encoder MODEL)"
                raise CorruptIndex(f"{what}{way}")
            damaged = _segment_damage(inspection)
            manifest = manifest_findings(path)
            report = RepairReport(
                path=str(path),
                dry_run=dry_run,
                findings=(*findings, *damaged, *manifest),
                documents=kept,
                encoded=len(to_encode),
                lost=tuple(lost),
                encoder_renewed=renewed and encoder is not None,
                quarantine=None,
            )
        if dry_run or not report.findings:
            return report
        quarantine = None
        if findings:
            with Inspection(path) as inspection, draft_directory(path) as draft:
                inspection.read_blocks()
                _write(path, draft, inspection, encoder, renew_encoder=renewed)
                place = _quarantine(path, draft, encoder_too=report.encoder_renewed)
                failpoint("repair.install")
                install_directory(draft, path, replace=True)
            quarantine = str(path / place)
        else:
            _remove_segments(path, damaged)
    return replace(report, quarantine=quarantine, segments=build_again(path))


def _check_marker(path: Path) -> list[Finding]:
    marker = path / "FORMAT"
    try:
        verify_format(path)
    except IncompatibleIndex:
        raise
    except CorruptIndex as error:
        return [Finding(Severity.DAMAGE, "format", str(marker), str(error))]
    return []


def _refuse_other(inspection: Inspection, encoder: TextEncoder) -> None:
    stored = inspection.constants["fingerprint"]
    if encoder.fingerprint != stored:
        raise EncoderMismatch(
            f"the index was built with encoder {inspection.constants['encoder']} ({stored[:12]}), "
            f"got {encoder.name} ({encoder.fingerprint[:12]}); repair it with its own, and then "
            f"change it by `simsearch reindex {inspection.directory} --encoder MODEL`"
        )


def _read(inspection: Inspection) -> tuple[int, list[str], list[str]]:
    """Return the number of documents that stay, and the ids to encode and that are lost."""
    inspection.ask_sqlite(quick=False)
    inspection.read_blocks()
    kept, to_encode, lost = 0, list[str](), list[str]()
    for found in inspection.read_documents():
        whole = vectors_of(inspection, found) is not None
        kept += whole or not found.supplied
        if not whole:
            (lost if found.supplied else to_encode).append(found.document.id)
    inspection.compare_lexical()
    inspection.read_judgements()
    return kept, to_encode, lost


def _segment_damage(inspection: Inspection) -> list[Finding]:
    before = len(inspection.findings)
    inspection.read_segments(quick=False)
    return [each for each in inspection.findings[before:] if each.code == "segment"]


def _remove_segments(path: Path, damaged: list[Finding]) -> None:
    with translated_os_errors(path):
        remove_entry(path / MANIFEST)  # what a backup says of them is not true any more
        for finding in damaged:
            remove_entry(Path(finding.path))
        sync_directory(path)


def _encoder_damage(path: Path, inspection: Inspection, findings: list[Finding]) -> bool:
    """Whether the index's copy of its encoder is damaged, which is then a finding, the last."""
    try:
        load_own_encoder(path, inspection.constants)
    except SimsearchError as error:
        where = str(path / "encoder")
        findings.append(Finding(Severity.DAMAGE, "encoder", where, str(error)))
        return True
    return False


def _write(
    path: Path,
    draft: Path,
    inspection: Inspection,
    encoder: TextEncoder | None,
    *,
    renew_encoder: bool,
) -> None:
    settings: dict[str, str] = {}
    names = ["encoder", "quarantine", PREVIOUS]
    if renew_encoder and encoder is not None:
        settings = bind_encoder(encoder, draft, dim=inspection.dim)
        # One that was measured on the index itself is nearer to it than the encoder's.
        if CALIBRATION in inspection.constants:
            settings.pop(CALIBRATION, None)
        names.remove("encoder")
    long_texts = LongTexts(inspection.constants["long_texts"])

    def renew(documents: list[Document]) -> PassageRows:
        own = encoder or load_own_encoder(path, inspection.constants)
        return _encoded(documents, own, dim=inspection.dim, long_texts=long_texts)

    rewrite_store(inspection, draft, settings=settings, renew=renew)
    carry_over(path, draft, created_by=inspection.constants["created_by"], names=names)


def _encoded(
    documents: Sequence[Document], encoder: TextEncoder, *, dim: int, long_texts: LongTexts
) -> PassageRows:
    split = [[whole_passage(document)] for document in documents]
    if long_texts is LongTexts.PASSAGES:
        split = encoder.split_documents(documents)
    rows, _ = encode_passages(
        documents,
        split,
        encode=lambda texts: fitted(encoder.encode_documents(texts), dim),
        known=lambda _: {},
    )
    return rows


def _quarantine(path: Path, draft: Path, *, encoder_too: bool) -> str:
    """Keep the originals in a new folder of the draft, and return its place in the index."""
    failpoint("repair.quarantine")
    folder = draft / "quarantine"
    folder.mkdir(mode=0o700, exist_ok=True)
    number = 1 + max(
        (int(each.name) for each in folder.iterdir() if each.name.isdigit()), default=0
    )
    place = folder / str(number)
    place.mkdir(mode=0o700)
    for name in _ORIGINALS:
        if (path / name).is_file():
            link_or_copy(path / name, place / name)
    if encoder_too and (path / "encoder").is_dir():
        copy_tree(path / "encoder", place / "encoder", link=True)
    return f"quarantine/{number}"
