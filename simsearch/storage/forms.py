"""Which words a term of a query finds: itself, and what FTS5's stemmer takes for the same."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable

from simsearch.storage.lexical import ADD, quoted
from simsearch.storage.schema import LEXICAL


def forms_found(terms: Iterable[str], words: Iterable[str]) -> dict[str, set[str]]:
    """Return which of these document terms each query term finds.

    Asked of a table like that of an index, so that nothing here needs to know how words are
    stemmed.
    """
    numbered = dict(enumerate(dict.fromkeys(words)))
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as table:
        table.execute(LEXICAL)
        table.execute("BEGIN")
        table.executemany(ADD, numbered.items())
        table.execute("COMMIT")
        matching = "SELECT rowid FROM lexical WHERE lexical MATCH ?"
        return {
            term: {numbered[row] for (row,) in table.execute(matching, (quoted(term),))}
            for term in terms
        }
