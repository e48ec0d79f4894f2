"""What tests of the command line share: running it in this process, files, a small index."""

from __future__ import annotations

import io
import json
import logging
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from simsearch.cli import main
from simsearch.encoder import Encoder
from simsearch.records import Document, Hit
from simsearch.search_index import SearchIndex

PREFIX = "simsearch: error: "

DOCUMENTS = (
    Document("card", "my card was swallowed by the machine", metadata={"lang": "en", "stars": 4}),
    Document("parcel", "the parcel came late", title="lost order"),
    Document("cat", "the cat sat on the mat"),
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one run of the command line left behind."""

    code: int
    out: str
    err: str

    @property
    def objects(self) -> list[dict[str, Any]]:
        """Every line of stdout as the JSON object that it must be."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def object(self) -> dict[str, Any]:
        (found,) = self.objects
        return found

    def refusal(self, code: int) -> str:
        """What was said, once it is sure that it was refused as everything is: in one line."""
        assert self.code == code, self
        assert self.out == "", self
        (line,) = self.err.splitlines()
        assert line.startswith(PREFIX), self
        return line.removeprefix(PREFIX)


Run = Callable[..., Outcome]
Write = Callable[[str, str | bytes], Path]
Refuse = Callable[..., str]
FillStdin = Callable[[bytes], None]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """Return a function that runs `simsearch` with the given arguments."""
    logger = logging.getLogger("simsearch")
    before = (logger.handlers, logger.propagate, logger.level)

    def run_main(*arguments: str | Path | int) -> Outcome:
        capsys.readouterr()
        code = main(
            [os.fspath(each) if isinstance(each, Path) else str(each) for each in arguments]
        )
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    yield run_main
    logger.handlers, logger.propagate, level = before
    logger.setLevel(level)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return a function that writes a file, byte for byte, and returns its path."""

    def write_file(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write_file


@pytest.fixture
def fill_stdin(monkeypatch: pytest.MonkeyPatch) -> FillStdin:
    """Return a function that puts bytes on stdin."""

    def fill(content: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))

    return fill


@pytest.fixture(scope="session")
def built_index(tiny_encoder_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an index of DOCUMENTS, which no test may write to."""
    path = tmp_path_factory.mktemp("built") / "index"
    with SearchIndex.create(path, encoder=Encoder.load(tiny_encoder_dir)) as index:
        index.add(DOCUMENTS)
    return path


@pytest.fixture
def index_dir(built_index: Path, tmp_path: Path) -> Path:
    """Return an index of DOCUMENTS, alone in its folder."""
    return shutil.copytree(built_index, tmp_path / "indexes" / "support")


@pytest.fixture
def refuse(run: Run, index_dir: Path) -> Refuse:
    """Return a function that adds what must be refused, and returns the message.

    It makes sure that nothing came of it: neither in the index nor beside it.
    """

    def refuse_add(*arguments: str | Path, code: int = 3) -> str:
        before, beside = contents(index_dir), sorted(index_dir.parent.iterdir())
        outcome = run("add", *arguments, "-i", index_dir)
        assert contents(index_dir) == before
        assert sorted(index_dir.parent.iterdir()) == beside
        return outcome.refusal(code)

    return refuse_add


def contents(index_dir: Path) -> tuple[list[Document], list[Hit]]:
    """Return what is in an index and what a search in it finds."""
    with SearchIndex.open(index_dir) as index:
        return list(index.iterate()), index.search("my cat", k=100)


def stored(index_dir: Path) -> dict[str, Document]:
    """Return the documents of an index by id."""
    with SearchIndex.open(index_dir) as index:
        return {document.id: document for document in index.iterate()}


def as_jsonl(documents: tuple[Document, ...] | list[Document]) -> str:
    """Return documents as the lines of a corpus file."""
    rows = (
        {
            "id": each.id,
            "text": each.text,
            **({"title": each.title} if each.title else {}),
            **each.metadata,
        }
        for each in documents
    )
    return "".join(json.dumps(row) + "\n" for row in rows)
