"""Relevance judgements: which documents people found right or wrong for which queries.

They are rows beside the documents, so one is committed as they are. They name documents by id and
by a hash of what was judged, not by row: they hold in every generation of an index, and one whose
document has another text now is known.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from simsearch.failpoints import failpoint
from simsearch.records import Judgement
from simsearch.storage.checksums import judgement_crc32, sound_judgement
from simsearch.storage.session import Session

COUNT: Final = "judgements"  # the setting that says how many there are: a lost one shows


@dataclass(frozen=True, slots=True)
class StoredJudgement:
    """A judgement, and the `text_hash` of the content that was judged."""

    judgement: Judgement
    text_hash: bytes


class Judgements:
    """The judgements of an open store."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def put(self, judgements: Iterable[StoredJudgement]) -> None:
        """Keep judgements; inside a transaction.

        One takes the place of an earlier one of the same query and document.
        """
        for each in judgements:
            judged = each.judgement
            self.remove([(judged.query, judged.document_id)])
            failpoint("judgements.put")
            (number,) = self._session.connection.execute(
                "SELECT coalesce(max(number), 0) + 1 FROM judgements"
            ).fetchone()
            fields = (
                number,
                judged.query,
                judged.document_id,
                int(judged.relevant),
                each.text_hash,
            )
            self._session.connection.execute(
                "INSERT INTO judgements VALUES (?, ?, ?, ?, ?, ?)",
                (*fields, judgement_crc32(*fields)),
            )
            self._count(1)

    def remove(self, pairs: Iterable[tuple[str, str]]) -> int:
        """Take back the judgements of these queries and document ids; return how many there were.

        Inside a transaction.
        """
        removed = 0
        for pair in pairs:
            failpoint("judgements.remove")
            removed += self._session.connection.execute(
                "DELETE FROM judgements WHERE query = ? AND document = ?", pair
            ).rowcount
        self._count(-removed)
        return removed

    def replace_all(self, judgements: Sequence[StoredJudgement]) -> None:
        """Keep these judgements and no others; inside a transaction."""
        failpoint("judgements.replace")
        found = self._session.connection.execute("DELETE FROM judgements")
        self._count(-found.rowcount)
        self.put(judgements)

    def count(self) -> int:
        """Return how many judgements there are, without reading them."""
        (count,) = self._session.numbers(COUNT)
        return count

    def read(self) -> list[StoredJudgement]:
        """Return all judgements, in the order in which they were made.

        Raises:
            CorruptIndex: one is damaged or lost.
        """
        with self._session.snapshot():
            rows = self._session.connection.execute(
                "SELECT * FROM judgements ORDER BY number"
            ).fetchall()
            (count,) = self._session.numbers(COUNT)
        sound = [as_judgement(row) for row in rows if sound_judgement(row)]
        if len(sound) != count or len(rows) != count:
            raise self._session.damage(f"{count} judgements were made, and {len(sound)} are sound")
        return sound

    def _count(self, more: int) -> None:
        self._session.connection.execute(
            "UPDATE meta SET value = value + ? WHERE key = ?", (more, COUNT)
        )


def as_judgement(row: Sequence[Any]) -> StoredJudgement:
    """Return a sound row of the table as what it says."""
    _, query, document, relevant, text, _ = row
    return StoredJudgement(Judgement(query, document, bool(relevant)), text)
