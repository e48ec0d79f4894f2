"""check, repair, compact, backup, restore: an index that stays sound."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from simsearch.cli.options import bundled
from simsearch.cli.output import Output, clean
from simsearch.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterable

    from simsearch.search_index import BackupReport
    from simsearch.storage import Finding

IndexArgument = Annotated[Path, typer.Argument(metavar="INDEX_DIR", help="The index directory.")]
_EXIT = {None: 0, "note": 0, "warning": 1, "damage": 4}


@bundled
def check(
    index_dir: IndexArgument,
    output: Output,
    quick: Annotated[
        bool, typer.Option("--quick", help="Leave out vectors, texts and the encoder.")
    ] = False,
) -> int:
    """Check an index; exit 0 if it is sound, 1 for warnings, 4 for damage. Changes nothing."""
    from simsearch.search_index import check_index

    report = check_index(index_dir, quick=quick)
    if output.json_only:
        output.result({**asdict(report), "worst": report.worst})
    else:
        _print_findings(output, report.findings)
        if report.worst is None:
            seen = ", as far as --quick looks" if quick else ""
            output.text(f"{clean(str(index_dir))} is sound{seen}")
    return _EXIT[report.worst]


@bundled
def repair(
    index_dir: IndexArgument,
    output: Output,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")
    ] = False,
    encoder: Annotated[
        str | None,
        typer.Option("--encoder", help="The full model of the index; default: its own copy."),
    ] = None,
) -> int:
    """Make anew what is damaged, out of what can be read; exit 1 if something is lost for good."""
    from simsearch.encoder import Encoder
    from simsearch.search_index import repair_index

    model = None if encoder is None else Encoder.load(encoder)
    report = repair_index(index_dir, encoder=model, dry_run=dry_run)
    if output.json_only:
        output.result({**asdict(report), "complete": report.complete})
        return 0 if report.complete else 1
    _print_findings(output, report.findings)
    if not report.findings:
        output.text(f"{clean(str(index_dir))} is sound; nothing was changed")
        return 0
    output.text(
        f"{'would keep' if dry_run else 'kept'} {counted(report.documents, 'document')}, "
        "the vectors of "
        f"{report.encoded:,} encoded again from their text"
    )
    for document_id in report.lost:
        output.text(f"lost: {clean(document_id)} (its vector was supplied: add it again)")
    unsound = sum(each.code == "segment" for each in report.findings)
    if dry_run and unsound:
        output.text(f"would build anew what {counted(unsound, 'segment')} cover")
    if report.segments:
        output.text(f"built {counted(report.segments, 'segment')} anew")
    if report.quarantine is not None:
        output.text(f"the originals are in {clean(report.quarantine)}")
    return 0 if report.complete else 1


@bundled
def compact(
    index_dir: IndexArgument,
    output: Output,
    purge: Annotated[
        bool,
        typer.Option("--purge", help="Leave no byte of what was deleted; deletes quarantine/ too."),
    ] = False,
) -> None:
    """Give back the room of deleted and replaced documents. Searches go on meanwhile."""
    from simsearch.search_index import compact_index

    report = compact_index(index_dir, purge=purge)
    if output.json_only:
        output.result(asdict(report))
    else:
        output.text(
            f"removed {counted(report.removed_rows, 'row')}: "
            f"{report.bytes_before:,} bytes before, {report.bytes_after:,} now"
        )
        if report.removed_generation is not None:
            output.text(f"generation {report.removed_generation}, the one before, was deleted")


@bundled
def backup(
    index_dir: IndexArgument,
    destination: Annotated[
        Path, typer.Argument(metavar="DEST", help="The directory to make; must not be there.")
    ],
    output: Output,
) -> None:
    """Copy an index, whole and verified, while others may write to it."""
    from simsearch.search_index import backup_index

    _print_copy(output, "backed up", backup_index(index_dir, destination))


@bundled
def restore(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="A directory made by backup.")],
    index_dir: IndexArgument,
    output: Output,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace an index that is there.")
    ] = False,
) -> None:
    """Copy a backup into the place of an index, once every byte of it is verified."""
    from simsearch.search_index import restore_index

    _print_copy(output, "restored", restore_index(source, index_dir, replace=replace))


def _print_copy(output: Output, verb: str, report: "BackupReport") -> None:
    if output.json_only:
        output.result(asdict(report))
    else:
        output.text(
            f"{verb} {counted(report.documents, 'document')} of commit "
            f"{report.commit_number:,} into "
            f"{clean(report.path)}: {report.files:,} files, {report.bytes:,} bytes"
        )


def _print_findings(output: Output, findings: "Iterable[Finding]") -> None:
    for each in findings:
        # What an error says ends with its own.
        remedy = f" ({each.remedy})" if each.remedy and not each.what.endswith(")") else ""
        line = f"{each.severity}: {each.code}: {each.path}: {each.what}{remedy}"
        output.text(clean(line))
