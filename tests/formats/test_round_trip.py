"""What is written with the standard library is read back equal."""

from __future__ import annotations

import csv
import io
import json
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from simsearch.formats import read_documents
from simsearch.records import Document

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
# With a character to read in it: blank documents are refused.
VISIBLE = st.characters(exclude_categories=["C", "Z", "M"])
FILLED = st.tuples(TEXTS, VISIBLE, TEXTS).map("".join)
# What str.isprintable() says of a character, without a filter that most texts would fail.
PRINTABLE = st.characters(exclude_categories=["C", "Z"]) | st.just(" ")
IDS = st.text(PRINTABLE, min_size=1, max_size=40)
NAMES = st.from_regex(r"[A-Za-z0-9_.-]{1,64}", fullmatch=True).filter(
    lambda name: name not in ("id", "_id", "text", "title")
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)


def documents(values: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Document]]:
    one = st.builds(
        Document,
        id=IDS,
        text=FILLED,
        title=st.none() | TEXTS,
        metadata=st.dictionaries(NAMES, values, max_size=4),
    )
    return st.lists(one, min_size=1, max_size=6, unique_by=lambda document: document.id)


def as_row(document: Document) -> dict[str, Any]:
    return {
        "id": document.id,
        "text": document.text,
        "title": document.title,
        **document.metadata,
    }


def read_back(name: str, content: str) -> list[Document]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content.encode())
        return list(read_documents(path))


@settings(max_examples=50, database=None)
@given(written=documents(VALUES), escaped=st.booleans(), end=st.sampled_from(["\n", "\r\n"]))
def test_documents_written_as_jsonl_are_read_back(
    written: list[Document], escaped: bool, end: str
) -> None:
    lines = (json.dumps(as_row(document), ensure_ascii=escaped) + end for document in written)
    assert read_back("a.jsonl", "".join(lines)) == written


@settings(max_examples=50, database=None)
@given(
    rows=st.lists(
        st.tuples(IDS, FILLED, TEXTS), min_size=1, max_size=6, unique_by=lambda row: row[0]
    )
)
def test_documents_written_as_csv_are_read_back(rows: list[tuple[str, str, str]]) -> None:
    buffer = io.StringIO(newline="")
    csv.writer(buffer, quoting=csv.QUOTE_ALL).writerows([("id", "text", "note"), *rows])
    expected = [Document(id_, text, None, {"note": note}) for id_, text, note in rows]
    assert read_back("a.csv", buffer.getvalue()) == expected
