"""How an index is searched when nobody says how, and why: what was measured on it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Final

from simsearch.errors import CorruptIndex, InvalidInput
from simsearch.query import Fusion, FusionWay, SearchMode
from simsearch.storage import DocumentStore, read_with_checksum, with_checksum
from simsearch.wording import counted

SETTING: Final = "fusion"


@dataclass(frozen=True, slots=True)
class ModeChoice:
    """What an index does by itself.

    `queries` is how many with known answers chose `mode` and the weight of `fusion`, 0 where
    nobody has measured. `scores` are the mean nDCG@10 of each mode on them, the hybrid one on
    queries that did not choose its weight; `low`, `high` and `p` belong to the difference that
    decided, which `compared` names.
    """

    mode: SearchMode = SearchMode.DENSE
    fusion: Fusion = field(default_factory=Fusion)
    queries: int = 0
    scores: dict[str, float] = field(default_factory=dict)
    low: float = 0.0
    high: float = 0.0
    p: float = 1.0

    @property
    def compared(self) -> str:
        """Which two modes the interval is of: lexical and dense where lexical was chosen.

        Else hybrid and the better of the other two.
        """
        if self.mode is SearchMode.LEXICAL:
            return f"{SearchMode.LEXICAL} - {SearchMode.DENSE}"
        single = {name: score for name, score in self.scores.items() if name != SearchMode.HYBRID}
        return f"{SearchMode.HYBRID} - {max(single, key=lambda name: single[name])}"

    @property
    def reason(self) -> str:
        """Why this mode, in words."""
        if not self.queries:
            return "not measured on this index (run `simsearch mode INDEX_DIR DATA`)"
        scores = ", ".join(f"{name} {score:.4f}" for name, score in self.scores.items())
        return (
            f"nDCG@10 of {counted(self.queries, 'query', 'queries')}: {scores} "
            f"({self.compared} {self.low:+.4f} .. {self.high:+.4f}, p {self.p:.4f})"
        )


def as_search_mode(name: SearchMode | str) -> SearchMode:
    """Return the member of that name.

    Raises:
        InvalidInput: there is none.
    """
    try:
        return SearchMode(name)
    except ValueError:
        raise InvalidInput(f"mode must be one of {', '.join(SearchMode)}, got {name!r}") from None


def mode_choice(store: DocumentStore) -> ModeChoice:
    """Return what an index keeps; inside a snapshot.

    Raises:
        CorruptIndex: it is not what was written.
    """
    text = store.settings.find(SETTING)
    if text is None:
        return ModeChoice()
    try:
        fields = read_with_checksum(text)
        given = fields.pop("fusion")
        fusion = Fusion(FusionWay(given["way"]), float(given["weight"]))
        return ModeChoice(**{**fields, "mode": SearchMode(fields["mode"])}, fusion=fusion)
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptIndex(f"the search mode of the index is damaged: {error}") from error


def keep_mode_choice(store: DocumentStore, choice: ModeChoice) -> None:
    """Write what an index does by itself; inside a transaction."""
    store.settings.write(SETTING, with_checksum(asdict(choice)))
