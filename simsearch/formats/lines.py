"""Files become numbered lines: decompressed, decoded, and split at newlines only."""

from __future__ import annotations

import codecs
import contextlib
import io
import itertools
import os
import stat
import sys
import zlib
from collections.abc import Iterable, Iterator
from pathlib import PosixPath
from typing import BinaryIO, Final, TypeAlias

from simsearch.errors import InvalidData, InvalidInput, NotFound, SystemFailure
from simsearch.formats.options import DEFAULT_OPTIONS, ReadOptions

Source: TypeAlias = str | os.PathLike[str]

# One chunk of gzip grows at most 1032 times, which keeps what is in memory below 17 MiB.
_CHUNK_SIZE: Final = 1 << 14
_HEAD_SIZE: Final = 16
_GZIP_MAGIC: Final = b"\x1f\x8b"
_GZIP_FORMAT: Final = 31  # zlib's wbits for "gzip header and checksum"
_UNJUDGED_SIZE: Final = 16 << 20  # small files may be as repetitive as they like

# A file that begins with FF FE 00 00 is UTF-32, so the longer marks come first.
_BYTE_ORDER_MARKS: Final = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

_BINARY_FORMATS: Final = (
    (b"PAR1", "parquet", "convert it to JSONL, e.g. with duckdb or pandas"),
    (b"PK\x03\x04", "zip or xlsx", "unpack it, or save the sheet as CSV"),
    (b"%PDF", "PDF", "extract its text first"),
    (b"SQLite format 3\0", "an SQLite database", "export the table as CSV"),
    (b"\x93NUMPY", "a numpy array", "it holds vectors, not texts"),
    (b"\xfd7zXZ\0", "xz", "decompress it; gzip is read directly"),
    (b"\x28\xb5\x2f\xfd", "zstd", "decompress it; gzip is read directly"),
    (_GZIP_MAGIC, "gzip inside gzip", "decompress it once"),
)

_SPECIAL_FILES: Final = (
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)


class StdinCopy(PosixPath):
    """A file that stdin was copied to, so that it can be read again; messages call it stdin."""


class _UndecodableError(Exception):
    def __init__(self, byte: int, offset: int) -> None:
        super().__init__(byte, offset)
        self.byte = byte
        self.offset = offset


def read_lines(path: Source, options: ReadOptions = DEFAULT_OPTIONS) -> Iterator[tuple[int, str]]:
    r"""Yield each line with its number from 1, without the `\n` or `\r\n` that ends it.

    `-` is stdin; gzip is recognised by its content. No other character ends a line, so
    U+2028, U+0085 and a lone `\r` stay inside the text.

    Raises:
        NotFound: there is no such file.
        InvalidInput: the path names a directory, a FIFO, a device or a socket.
        InvalidData: the content is not text in `options.encoding`, a line is too long, or the
            file changed meanwhile.
        SystemFailure: the operating system refused to open or to read it.
    """
    for number, line in raw_lines(path, options):
        body = without_end(line)
        if len(body) > options.max_record:
            raise too_long(f"{source_name(path)}:{number}", options.max_record)
        yield number, body


def raw_lines(path: Source, options: ReadOptions) -> Iterator[tuple[int, str]]:
    """Yield each line with its number and its end.

    A line over `options.max_record` comes cut, but long enough to be seen as too long; so a
    caller can refuse it, or go on to the next one, and neither takes the memory of the line.
    """
    name = source_name(path)
    encoding = codecs.lookup(options.encoding).name.replace("utf-8-sig", "utf-8")
    number = 0
    try:
        with _opened(path) as stream:
            chunks = _content(stream, name, encoding, options.max_expansion)
            texts = _decoded(chunks, encoding)
            for number, line in enumerate(_split(texts, options.max_record), start=1):
                yield number, line
    except _UndecodableError as error:
        raise InvalidData(
            f"{name}:{number + 1}: byte 0x{error.byte:02x} at offset {error.offset} "
            f"is not {encoding} (use --encoding, e.g. latin-1)"
        ) from error
    except UnicodeError as error:
        raise InvalidData(
            f"{name}: {error} (use another --encoding, e.g. utf-8 or utf-16-le)"
        ) from error
    except EOFError as error:
        raise InvalidData(f"{name}: compressed data ends early after {number} lines") from error
    except zlib.error as error:
        raise InvalidData(
            f"{name}: compressed data is damaged after {number} lines ({error})"
        ) from error
    except OSError as error:
        raise SystemFailure(f"{name}: {error.strerror or error}") from error


def source_name(path: Source) -> str:
    """Return what messages call `path`."""
    return "stdin" if is_stdin(path) or isinstance(path, StdinCopy) else os.fspath(path)


def is_stdin(path: Source) -> bool:
    """Whether `path` is the `-` of the command line."""
    return os.fspath(path) == "-"


def without_end(line: str) -> str:
    """Return `line` without the newline that ends it."""
    return line.removesuffix("\r\n").removesuffix("\n")


def too_long(where: str, limit: int) -> InvalidData:
    """Return the error for a record over `limit` characters."""
    return InvalidData(f"{where}: longer than {limit} characters (--max-record sets the limit)")


def check_regular_file(path: Source) -> None:
    """Refuse what is not a file before it is opened: opening a FIFO would block for ever.

    Raises:
        NotFound: there is no such file.
        InvalidInput: it is something else than a file.
        SystemFailure: the operating system would not say.
    """
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFound(f"{source_name(path)}: no such file") from error
    except OSError as error:
        raise SystemFailure(f"{source_name(path)}: {error.strerror or error}") from error
    except ValueError as error:
        raise InvalidInput(f"{os.fspath(path)!r}: not a file name ({error})") from error
    if stat.S_ISDIR(mode):
        raise InvalidInput(f"{source_name(path)}: is a directory (name the files in it)")
    for matches, kind in _SPECIAL_FILES:
        if matches(mode):
            raise InvalidInput(f"{source_name(path)}: is {kind}, not a file (use - for stdin)")


@contextlib.contextmanager
def _opened(path: Source) -> Iterator[BinaryIO]:
    if is_stdin(path):
        yield stdin_bytes()
        return
    check_regular_file(path)
    with open(path, "rb") as stream:
        before = _state(stream)
        yield stream
        # Read to its end: what was cut or written to meanwhile is half of one file and half of
        # another.
        if _state(stream) != before:
            raise InvalidData(
                f"{source_name(path)}: changed while it was read (let its writer finish, then try "
                "again)"
            )


def _state(stream: BinaryIO) -> tuple[int, int]:
    status = os.fstat(stream.fileno())
    return status.st_size, status.st_mtime_ns


def stdin_bytes() -> BinaryIO:
    """Return stdin, which waits for what is to come.

    Raises:
        InvalidData: it is closed.
    """
    # Python sets sys.stdin to None when it is started with file descriptor 0 closed.
    if sys.stdin is None or sys.stdin.closed:
        raise InvalidData("stdin is closed (pipe data into it, or name a file)")
    # A parent may have told its end of the pipe not to wait, and thereby ours: then nothing there
    # yet would be taken for the end.
    with contextlib.suppress(OSError, ValueError):  # what is no file never waits
        os.set_blocking(sys.stdin.buffer.fileno(), True)
    return sys.stdin.buffer


def _content(stream: BinaryIO, name: str, encoding: str, max_expansion: int) -> Iterator[bytes]:
    """Yield the bytes of the text, after a look at what they are."""
    # Of a pipe what is there, without waiting for more: its writer may wait for answers.
    read = getattr(stream, "read1", stream.read)
    head, chunks = _peeked(iter(lambda: read(_CHUNK_SIZE), b""))
    if head.startswith(_GZIP_MAGIC):
        head, chunks = _peeked(_gunzipped(chunks, name, max_expansion))
    for magic, kind, advice in _BINARY_FORMATS:
        if head.startswith(magic):
            raise InvalidData(f"{name}: looks like {kind}, not JSONL or CSV ({advice})")
    for mark, marked in _BYTE_ORDER_MARKS:
        if head.startswith(mark):
            if not encoding.startswith(marked):
                raise InvalidData(f"{name}: looks like {marked.upper()} (use --encoding {marked})")
            break
    return chunks


def _peeked(chunks: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
    head = b""
    while len(head) < _HEAD_SIZE and (chunk := next(chunks, b"")):
        head += chunk  # a pipe may give single bytes
    return head, itertools.chain([head] if head else [], chunks)


def _gunzipped(chunks: Iterable[bytes], name: str, max_expansion: int) -> Iterator[bytes]:
    """Yield what is in all members of a gzip file.

    Raises:
        EOFError: the last member does not end.
        zlib.error: the data or its checksum are wrong.
        InvalidData: it grows more than `max_expansion` times.
    """
    inflater = zlib.decompressobj(wbits=_GZIP_FORMAT)
    taken = given = 0
    for chunk in chunks:
        taken += len(chunk)
        unread = chunk
        # After a member there may be another one, or zeros that pad a block of tape.
        while unread := unread.lstrip(b"\0") if inflater.eof else unread:
            if inflater.eof:
                inflater = zlib.decompressobj(wbits=_GZIP_FORMAT)
            text = inflater.decompress(unread)
            unread = inflater.unused_data
            given += len(text)
            if given > max(_UNJUDGED_SIZE, taken * max_expansion):
                raise InvalidData(
                    f"{name}: compressed data grows more than {max_expansion} times "
                    "(--max-expansion sets the limit)"
                )
            if text:
                yield text
    if not inflater.eof:
        raise EOFError


def _decoded(chunks: Iterable[bytes], encoding: str) -> Iterator[str]:
    """Yield the text without its byte order mark, up to the first byte that is not text."""
    decoder = codecs.getincrementaldecoder(encoding)()
    taken = 0
    begun = False
    for chunk in itertools.chain(chunks, [b""]):  # an empty one says that it was the last
        state = decoder.getstate()
        try:
            text = decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            held = len(state[0])
            decoder.setstate(state)
            # The lines before the bad byte are still good, and may hold an earlier error.
            yield decoder.decode(chunk[: max(0, error.start - held)])
            offset = taken - held + error.start
            raise _UndecodableError(error.object[error.start], offset) from error
        taken += len(chunk)
        yield text if begun else text.removeprefix("\ufeff")
        begun = begun or bool(text)


def _split(texts: Iterable[str], limit: int) -> Iterator[str]:
    """Yield lines with their ends; of a line over `limit` only the beginning, at once."""
    pieces: list[str] = []
    held = 0
    dropping = False
    for text in texts:
        for piece in io.StringIO(text, newline="\n"):
            ended = piece.endswith("\n")
            if not dropping:
                pieces.append(piece)
                held += len(piece)
                if ended or held > limit + 2:  # 2: the line may yet end in \r\n
                    yield "".join(pieces)
                    pieces, held, dropping = [], 0, True
            if ended:
                dropping = False
    if pieces:
        yield "".join(pieces)
