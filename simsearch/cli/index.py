"""index, add, upsert, delete, get, info, upgrade: what is in an index."""

import contextlib
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from simsearch.cli.document_heads import DocumentHeads, annotated, make_document_heads
from simsearch.cli.input import CorpusSource, spooled_corpus
from simsearch.cli.measured import measured_on, warn_of_lost
from simsearch.cli.mode import choice_facts, measured_by_run
from simsearch.cli.opened import finished_index
from simsearch.cli.options import (
    Corpus,
    Dim,
    Embeddings,
    EncoderName,
    IndexDir,
    LongTexts,
    OnError,
    Where,
    bundled,
    bundled_with,
)
from simsearch.cli.output import Output, clean
from simsearch.cli.tuning import (
    build_what_is_worth_it,
    print_built,
    shortcomings,
)
from simsearch.errors import InvalidInput
from simsearch.wording import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from simsearch.cli.encoding import Encoding
    from simsearch.cli.tuning import Tuning
    from simsearch.formats import ReadOptions
    from simsearch.search_index import (
        AnnotatingEncoder,
        BuildReport,
        SearchIndex,
        SearchInfo,
        UpgradeReport,
        WriteReport,
    )

Skip = Annotated[
    OnError,
    typer.Option("--on-error", help="A bad row: stop, or skip it into INDEX.rejects.jsonl."),
]
IndexEncoder = Annotated[
    str | None,
    typer.Option(
        "--encoder", help="The full model of the index's encoder, for --device; default: its copy."
    ),
]


@bundled_with(heads=make_document_heads)
def index(
    *,
    corpus: Corpus,
    index_dir: IndexDir,
    output: Output,
    options: "ReadOptions",
    encoding: "Encoding",
    tuning: "Tuning",
    encoder: EncoderName = None,
    replace: Annotated[
        bool,
        typer.Option(
            "--replace", help="Replace an index that is there, once the new one is finished."
        ),
    ] = False,
    long_texts: Annotated[
        LongTexts,
        typer.Option(
            "--long-texts",
            help="A text beyond the encoder's window: truncate it, or split it into passages.",
        ),
    ] = LongTexts.TRUNCATE,
    dim: Dim = None,
    embeddings: Embeddings = None,
    heads: DocumentHeads,
    on_error: Skip = OnError.STOP,
) -> int:
    """Build an index from CORPUS. A run that was cut short is taken up where it stopped."""
    from simsearch.cli.encoding import warn_of_untrained
    from simsearch.search_index import build_index, check_build, check_dim, remove_all_but

    check_build(index_dir, replace=replace)
    queries = tuning.texts()
    known = measured_on(index_dir) if replace else frozenset[str]()
    heads.check(embeddings)
    encoder = heads.encoder_place() if encoder is None else encoder
    with contextlib.ExitStack() as stack:
        source = stack.enter_context(spooled_corpus(corpus, options, index_dir, on_error, output))
        source.validate()
        to_encode = source.total if embeddings is None else 0
        loaded = stack.enter_context(encoding.load(encoder, texts=to_encode))
        if embeddings is None:
            source.refuse_unreadable(lambda: loaded)
        if dim is not None:
            check_dim(dim, loaded.dim)
            warn_of_untrained(dim, loaded, output)
        vectors = source.vectors(embeddings, dim=dim or loaded.dim)
        annotating = heads.annotating(loaded, source.documents())
        with build_index(
            index_dir,
            encoder=annotating or loaded,
            replace=replace,
            long_texts=long_texts,
            dim=dim,
            target=tuning.target(),
        ) as target:
            taken_up = target.count()
            report = _write(source, target.upsert, vectors, annotating, target)
            if taken_up:
                output.say(f"{taken_up:,} documents were there from a run that was cut short")
                removed = remove_all_but(target, source.documents())
                output.say(f"{removed:,} of them are not in this corpus, and were removed")
            built = build_what_is_worth_it(output, target, queries)
            documents, search = target.count(), target.info().search
        choice = measured_by_run(index_dir, encoder, output, encoder=loaded)
        warn_of_lost(known, index_dir, output)
        state = _State(documents, built, search, more={"mode": choice_facts(choice)})
    return _report(output, "indexed", report, index_dir, state, source)


@bundled_with(heads=make_document_heads)
def add(
    *,
    corpus: Corpus,
    index_dir: IndexDir,
    output: Output,
    options: "ReadOptions",
    encoding: "Encoding",
    encoder: IndexEncoder = None,
    embeddings: Embeddings = None,
    heads: DocumentHeads,
    on_error: Skip = OnError.STOP,
) -> int:
    """Add the documents of CORPUS; an id that is in the index already is an error."""
    _refuse_unwritable(index_dir)
    with spooled_corpus(corpus, options, index_dir, on_error, output) as source:
        return _extend(
            source, index_dir, output, encoding, heads, encoder, embeddings, replace=False
        )


@bundled_with(heads=make_document_heads)
def upsert(
    *,
    corpus: Corpus,
    index_dir: IndexDir,
    output: Output,
    options: "ReadOptions",
    encoding: "Encoding",
    encoder: IndexEncoder = None,
    embeddings: Embeddings = None,
    heads: DocumentHeads,
    on_error: Skip = OnError.STOP,
) -> int:
    """Add the documents of CORPUS, replacing those whose id is in the index."""
    _refuse_unwritable(index_dir)
    with spooled_corpus(corpus, options, index_dir, on_error, output) as source:
        return _extend(
            source, index_dir, output, encoding, heads, encoder, embeddings, replace=True
        )


def _extend(
    source: CorpusSource,
    index_dir: Path,
    output: Output,
    encoding: "Encoding",
    heads: DocumentHeads,
    encoder: str | None,
    embeddings: Path | None,
    *,
    replace: bool,
) -> int:
    from simsearch.search_index import SearchIndex, refuse_known_ids

    heads.check(embeddings)
    source.validate()
    to_encode = source.total if embeddings is None else 0
    with contextlib.ExitStack() as stack:
        target = stack.enter_context(encoding.open_index(index_dir, encoder, texts=to_encode))
        if embeddings is None:
            source.refuse_unreadable(lambda: target.encoder)
        if not replace:
            refuse_known_ids(target, source.documents())
        annotating = heads.annotating(target.encoder, source.documents())
        if annotating is not None:
            target = stack.enter_context(SearchIndex.open(index_dir, encoder=annotating))
        vectors = source.vectors(embeddings, dim=target.dim)
        write = target.upsert if replace else target.add
        report = _write(source, write, vectors, annotating, target)
        verb = "upserted" if replace else "added"
        built = build_what_is_worth_it(output, target)
        state = _State(target.count(), built, target.info().search)
        return _report(output, verb, report, index_dir, state, source)


def _write(
    source: CorpusSource,
    write: "Callable[..., WriteReport]",
    vectors: Any,
    annotating: "AnnotatingEncoder | None",
    target: "SearchIndex",
) -> "WriteReport":
    """Write the documents of a corpus, with what heads find in them."""
    return source.write(
        annotated(write, annotating, target),
        vectors,
        in_passages=str(target.long_texts) == LongTexts.PASSAGES,
        classified=annotating is None or annotating.classifies,
    )


@contextlib.contextmanager
def _written_index(index_dir: Path) -> "Iterator[SearchIndex]":
    with finished_index(index_dir) as index:
        index.refuse_read_only()
        yield index


def _refuse_unwritable(index_dir: Path) -> None:
    """Refuse, before a large corpus is read in vain."""
    with _written_index(index_dir):
        pass


@bundled
def delete(
    index_dir: IndexDir,
    output: Output,
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="ID...", help="Ids of documents.")
    ] = None,
    where: Where = None,
) -> None:
    """Delete documents by id, or by a filter; unknown ids are counted, not an error."""
    ids = ids or []
    if bool(ids) == (where is not None):
        raise InvalidInput("give the ids of the documents to delete, or a filter with --where")
    with _written_index(index_dir) as target:
        deleted = target.delete(ids) if where is None else target.delete_where(where)
        unknown = len(set(ids)) - deleted if where is None else 0
        if output.json_only:
            output.result({"deleted": deleted, "unknown": unknown, "documents": target.count()})
        else:
            output.text(
                f"deleted {deleted:,}, unknown {unknown:,}; {counted(target.count(), 'document')}"
            )


@bundled
def get(
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Ids of documents.")],
    index_dir: IndexDir,
    output: Output,
) -> int:
    """Print documents by id; exit 1 if one of them is not in the index."""
    from simsearch.search_index import SearchIndex

    missing = 0
    with SearchIndex.open(index_dir) as target:
        for document_id in ids:
            document = target.get(document_id)
            if document is None:
                missing += 1
                output.say(f"no document {document_id!r}")
            elif output.json_only:
                output.result(asdict(document))
            else:
                title = f"{clean(document.title)}\n" if document.title else ""
                output.text(f"{clean(document.id)}\n{title}{clean(document.text)}")
                for name, value in document.metadata.items():
                    output.text(f"  {clean(name)}: {clean(str(value))}")
    return 1 if missing else 0


class _State(NamedTuple):
    """What an index is after a write."""

    documents: int
    built: "list[BuildReport]"
    search: "SearchInfo"
    more: "Mapping[str, Any] | None" = None  # what one command alone tells


def _report(
    output: Output,
    verb: str,
    report: "WriteReport",
    index_dir: Path,
    state: _State,
    source: CorpusSource,
) -> int:
    documents = state.documents
    facts = {**asdict(report), "rejected": source.rejects.count, "documents": documents}
    facts["truncated"] = source.truncated
    if output.json_only:
        built = [asdict(each) for each in state.built]
        search = {"built": built, "search": asdict(state.search), **(state.more or {})}
        output.result({**facts, "index": str(index_dir), **search})
    else:
        output.text(
            f"{verb} into {index_dir}: {report.added:,} added, {report.replaced:,} replaced, "
            f"{report.unchanged:,} unchanged; {counted(documents, 'document')}"
        )
        output.text(
            f"{counted(report.encoded, 'text')} encoded, {counted(report.reused, 'vector')} reused"
        )
        print_built(output, state.built)
    return max(source.rejects.exit_code(output), shortcomings(output, state.built))


@bundled
def upgrade(
    index_dir: Annotated[Path, typer.Argument(metavar="INDEX_DIR", help="The index directory.")],
    output: Output,
) -> None:
    """Bring an index of an older format to the present one; the old one is kept beside."""
    from simsearch.search_index import upgrade_index

    report = upgrade_index(index_dir)
    if output.json_only:
        nothing = {"backup": None, "segments": 0, "previous": None}
        output.result({"index": str(index_dir), **(asdict(report) if report else nothing)})
    elif report is None:
        output.text(f"{index_dir} has the present format already; nothing was changed")
    else:
        output.text(f"upgraded {index_dir}; the old index is kept as {report.backup}")
        _say_left_behind(output, report, index_dir)


def _say_left_behind(output: Output, report: "UpgradeReport", index_dir: Path) -> None:
    if report.segments:
        output.text(
            f"its segments ({report.segments:,}) were left behind: every search compares all "
            f"vectors until they are built anew (run `simsearch optimize {index_dir}`)"
        )
    if report.previous is not None:
        output.text(
            f"the generation before was left behind: `rollback` has nothing to go back to (run "
            f"`simsearch upgrade {report.previous}` to make an index of its own of it)"
        )
