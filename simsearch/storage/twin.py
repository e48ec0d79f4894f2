"""Is the lexical index what the stored texts say? It is compared with one that is made of them.

FTS5's blocks have no checksums, and its own check of a table without content looks at structure
alone. So the texts are indexed once more, in a temporary file, and terms, places and lengths
are compared.
"""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
from collections.abc import Iterator
from typing import Any, Final

from simsearch.records import Document
from simsearch.storage.checksums import sound_document
from simsearch.storage.lexical import ADD, numbered_terms
from simsearch.storage.schema import LEXICAL

# Of every term: in how many places it is, and sums that change where one of them does.
_TERMS: Final = """
SELECT term, count(*), sum(doc), sum(offset), sum((doc + 1) * (offset + 7) % 1000003)
FROM temp.places GROUP BY term ORDER BY term
"""
_LENGTHS: Final = "SELECT id, sz FROM lexical_docsize ORDER BY id"
# Where the last document was deleted FTS5 leaves zeros, and in a new table nothing.
_TOTALS: Final = """
SELECT CASE WHEN ltrim(hex(block), '0') = '' THEN '' ELSE hex(block) END
FROM lexical_data WHERE id = 1
"""


def lexical_difference(connection: sqlite3.Connection) -> str | None:
    """Return what is wrong with the lexical index of a store, None if nothing is.

    The documents of the store must be whole.
    """
    with contextlib.closing(sqlite3.connect("", isolation_level=None)) as twin:
        twin.execute(LEXICAL)
        twin.execute("BEGIN")
        twin.executemany(ADD, numbered_terms(_documents(connection)))
        twin.execute("COMMIT")
        try:
            for each in (connection, twin):
                each.execute(
                    "CREATE VIRTUAL TABLE temp.places USING fts5vocab(main, lexical, instance)"
                )
            for query in (_LENGTHS, _TOTALS, _TERMS):
                if difference := _difference(connection, twin, query):
                    return difference
        except sqlite3.DatabaseError as error:
            return f"the lexical index cannot be read: {error}"
        finally:
            with contextlib.suppress(sqlite3.DatabaseError):
                connection.execute("DROP TABLE IF EXISTS temp.places")
    return None


def _documents(connection: sqlite3.Connection) -> Iterator[tuple[int, Document]]:
    for row in connection.execute("SELECT * FROM documents ORDER BY first_row"):
        if sound_document(row):
            number, _, id_, text, title, *_ = row
            yield number, Document(id_, text, title)


def _difference(connection: sqlite3.Connection, twin: sqlite3.Connection, query: str) -> str | None:
    pairs: Iterator[tuple[Any, Any]] = itertools.zip_longest(
        connection.execute(query), twin.execute(query)
    )
    for found, expected in pairs:
        if found != expected:
            what = (found or expected)[0]
            named = "its totals are wrong" if query == _TOTALS else f"first at {what!r}"
            return f"the lexical index is not that of the stored texts ({named})"
    return None
