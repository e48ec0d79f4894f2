"""The corpus of a command: spooled, validated whole, then written batch by batch."""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simsearch.cli.options import OnError
from simsearch.cli.output import Output
from simsearch.errors import InvalidData, InvalidInput
from simsearch.records import has_word
from simsearch.wording import counted

if TYPE_CHECKING:
    from simsearch.encoder import EncodingCounts
    from simsearch.encoder.reading import Reader
    from simsearch.formats import DocumentCounts, ReadOptions
    from simsearch.records import Document
    from simsearch.search_index import WriteReport

logger = logging.getLogger("simsearch")

STDIN = Path("-")
FileState = tuple[int, int, int, int]


class Rejects:
    """Rows that were skipped, with their reasons, in a file beside the result.

    Without a result to be beside they are only counted.
    """

    def __init__(self, beside: Path | None, on_error: OnError) -> None:
        self.skipping = on_error is OnError.SKIP
        self.path: Path | None = None
        if beside is not None:
            named = beside if beside.name else beside.absolute()  # `.` has no name to add to
            self.path = named.with_name(f"{named.name}.rejects.jsonl")
        self.count = 0

    @property
    def callback(self) -> Callable[[InvalidData], None] | None:
        """What a reader calls with a bad row; None to let the row stop it."""
        return self._write if self.skipping else None

    def _write(self, error: InvalidData) -> None:
        """Write one reason; the first one of a run replaces the file of an earlier run."""
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a" if self.count else "w", encoding="utf-8") as file:
                file.write(json.dumps({"error": str(error)}, ensure_ascii=False) + "\n")
        self.count += 1

    def exit_code(self, output: Output) -> int:
        """Return 1 if rows were skipped, and say where their reasons are."""
        if not self.count:
            return 0
        where = "" if self.path is None else f"; the reasons are in {self.path}"
        output.warn(f"{counted(self.count, 'row')} skipped{where}")
        return 1


class CorpusSource:
    """The documents of a command, which can be read any number of times."""

    def __init__(
        self, paths: Sequence[Path], options: ReadOptions, rejects: Rejects, output: Output
    ) -> None:
        self._paths = paths
        self._options = options
        self.rejects = rejects
        self._output = output
        self.total = 0  # known after `validate`
        self.truncated = 0  # known after `write`
        self._wordless = False  # whether a document is without a letter or digit
        self._reads: Callable[[str], bool] | None = None
        self._validated: list[FileState | None] = []

    def documents(
        self,
        *,
        on_reject: Callable[[InvalidData], None] | None = None,
        counts: DocumentCounts | None = None,
    ) -> Iterator[Document]:
        """Read the documents once more; rows that were rejected before are passed over."""
        from simsearch.formats import read_beir_corpus, read_corpus

        if self.rejects.skipping and on_reject is None:
            on_reject = _ignore
        folder = self._beir_folder()
        if folder is None:
            return read_corpus(
                self._paths, self._options, on_reject=on_reject, counts=counts, reads=self._reads
            )
        return read_beir_corpus(
            folder, self._options, on_reject=on_reject, counts=counts, reads=self._reads
        )

    def _beir_folder(self) -> Path | None:
        from simsearch.formats import is_beir

        folders = [path for path in self._paths if path.is_dir() and is_beir(path)]
        if folders and len(self._paths) > 1:
            raise InvalidInput("give either corpus files or one BEIR folder")
        return folders[0] if folders else None

    def _states(self) -> list[FileState | None]:
        """Return what tells whether the files are those that they were; None of one not there."""
        folder = self._beir_folder()
        return list(map(_state, self._paths if folder is None else sorted(folder.iterdir())))

    def validate(self) -> None:
        """Read everything once, so that an input error changes nothing."""
        from simsearch.formats import DocumentCounts, source_name

        counts = DocumentCounts()
        self._validated = self._states()
        for document in self.documents(on_reject=self.rejects.callback, counts=counts):
            self.total += 1
            self._wordless = self._wordless or not has_word(document.content)
        if not self.total:
            raise InvalidData(f"{source_name(self._paths[0])}: no row is left, nothing added")
        if counts.generated_ids:
            self._output.say(
                f"{counted(counts.generated_ids, 'document')} without an id: a hash of the "
                "text is used"
            )
        if counts.blank and self._beir_folder() is not None:
            self._output.say(f"{counts.blank:,} blank documents skipped")

    def refuse_unreadable(self, load: Callable[[], Reader]) -> None:
        """Treat documents that hold nothing for an encoder as other bad rows, after `validate`.

        Only a document without a word can be one, so it is rare that the files are read again. (One
        of words that a tokenizer drops, as few do, is named when it is encoded.)
        """
        from simsearch.encoder import reading_by
        from simsearch.formats import DocumentCounts, UnreadableDocument, source_name

        if not self._wordless:
            return
        self._reads = reading_by(load)
        skip = self.rejects.callback

        def note(error: InvalidData) -> None:  # the others were noted by `validate`
            if skip is not None and isinstance(error, UnreadableDocument):
                skip(error)

        before = self.total
        counts = DocumentCounts()
        found = self.documents(on_reject=None if skip is None else note, counts=counts)
        self.total = sum(1 for _ in found)
        if not self.total:
            raise InvalidData(f"{source_name(self._paths[0])}: no row is left, nothing added")
        if self.total < before and self._beir_folder() is not None:
            self._output.say(
                f"{counted(before - self.total, 'document')} skipped in which the encoder "
                "reads nothing"
            )

    def vectors(self, path: Path | None, *, dim: int) -> Any:
        """Read and check ready vectors for the documents, before anything is written."""
        if path is None:
            return None
        if self.rejects.skipping:
            raise InvalidInput("--embeddings goes by the order of rows: not with --on-error skip")
        from simsearch.formats import check_vectors, read_vectors

        return check_vectors(read_vectors(path), rows=self.total, dim=dim, name=str(path))

    def write(
        self,
        write: Callable[..., WriteReport],
        vectors: Any,
        *,
        in_passages: bool = False,
        classified: bool = True,
    ) -> WriteReport:
        """Write the documents in batches, with progress, and report what was noticed.

        Of an index `in_passages` only heads read whole texts, and nobody is advised to split them;
        where none are `classified`, by taggers alone, which read them piece by piece.
        """
        from simsearch.encoder import EncodingCounts
        from simsearch.formats import source_name
        from simsearch.search_index import write_corpus

        if self._states() != self._validated:
            raise InvalidData(
                f"{source_name(self._paths[0])}: changed since it was checked (let its writer "
                "finish, then try again)"
            )
        counts = EncodingCounts()
        with self._output.progress() as begin:
            advance = begin("indexing")
            report = write_corpus(
                write,
                self.documents(),
                total=self.total,
                embeddings=vectors,
                counts=counts,
                progress=lambda done: advance(done, self.total),
            )
        advice = " (`index --long-texts passages` splits them instead)"
        if in_passages:
            advice = " for classifiers (taggers and the index have them whole)"
        in_windows = in_passages and not classified
        report_counts(self._output, counts, advice=advice, in_windows=in_windows)
        self.truncated = counts.truncated
        return report


@contextlib.contextmanager
def spooled_corpus(
    paths: Sequence[Path],
    options: ReadOptions,
    target: Path,
    on_error: OnError,
    output: Output,
) -> Iterator[CorpusSource]:
    """Make a corpus readable several times: stdin is copied to a file beside the target."""
    rejects = Rejects(target, on_error)
    with spooled(paths, beside=target) as files:
        yield CorpusSource(files, options, rejects, output)


@contextlib.contextmanager
def spooled(paths: Sequence[Path], *, beside: Path | None) -> Iterator[list[Path]]:
    """Put a file in the place of stdin; it is named `stdin` in messages and removed at the end.

    It lies where the result will, which has room for it, or else in the system's temporary place.
    """
    if STDIN not in paths:
        yield list(paths)
        return
    if paths.count(STDIN) > 1:
        raise InvalidInput("stdin can be read once (name a file in the place of the other -)")
    from simsearch.formats import StdinCopy, stdin_bytes

    stdin = stdin_bytes()
    place = None
    if beside is not None:
        place = beside.parent
        place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".simsearch-", dir=place) as folder:
        copy = StdinCopy(folder) / "stdin"
        with copy.open("wb") as file:
            shutil.copyfileobj(stdin, file)
        yield [copy if path == STDIN else path for path in paths]


def read_texts(path: Path, *, reads: Callable[[str], bool] | None = None) -> Iterator[str]:
    """Read a file with one text per line.

    Raises:
        InvalidData: a line is blank, or holds a NUL, or an encoder `reads` nothing in it.
    """
    from simsearch.formats import read_lines, source_name
    from simsearch.records import is_blank

    for number, line in read_lines(path):
        where = f"{source_name(path)}:{number}"
        if column := line.find("\0") + 1:
            raise InvalidData(f"{where}: the text has a NUL character at column {column}")
        if is_blank(line):
            raise InvalidData(f"{where}: the text is empty")
        if reads is not None and not reads(line):
            raise InvalidData(f"{where}: the text holds nothing that the encoder reads")
        yield line


def report_counts(
    output: Output, counts: EncodingCounts, *, advice: str = "", in_windows: bool = False
) -> None:
    """Say what encoding lost: texts over the window, tokens that the encoder does not know.

    `advice` is what to do about the former. Those that are read `in_windows` lose nothing.
    """
    from simsearch.encoder import MOST_UNKNOWN

    logger.debug(
        "%s texts encoded, %s tokens, %.1f%% of what was computed was padding",
        f"{counts.encoded:,}",
        f"{counts.tokens:,}",
        100 * counts.padding_share,
    )
    if counts.truncated:
        how = "are read piece by piece" if in_windows else f"were cut{advice}"
        output.say(
            f"{counts.truncated:,} of {counts.encoded:,} texts are longer than the encoder's "
            f"window and {how}"
        )
    if counts.all_unknown:
        output.warn(
            f"{counts.all_unknown:,} of {counts.encoded:,} texts hold no token the encoder knows"
        )
    if counts.unknown_share > MOST_UNKNOWN:
        output.warn(
            f"{counts.unknown_share:.0%} of the tokens are unknown to this encoder; "
            "name one that was made for this language (--encoder)"
        )


def _ignore(_: InvalidData) -> None:
    pass


def read_queries(path: Path, *, reads: Callable[[str], bool] | None = None) -> Iterator[str]:
    """Yield the queries in a file, one per line; blank lines are none.

    Raises:
        InvalidInput: a query is none, or an encoder `reads` nothing in it.
    """
    from simsearch.formats import read_lines, source_name
    from simsearch.search_index import check_query

    for number, line in read_lines(path):
        if line.strip():
            where = f"{source_name(path)}:{number}"
            check_query(line, name=f"{where}: query")
            if reads is not None and not reads(line):
                raise InvalidInput(f"{where}: the query holds nothing that the encoder reads")
            yield line


def _state(file: Path) -> FileState | None:
    try:
        status = file.stat()
    except OSError:  # who reads it says what is wrong with it
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
