"""When hard negatives are mined in a run, where from, and how a resumed run finds them again."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from simsearch.files import replace_text
from simsearch.records import Pair
from simsearch.search_index import Embedder
from simsearch.training.batches import DataSet
from simsearch.training.config import TrainingConfig
from simsearch.training.division import Part
from simsearch.training.examples import fold
from simsearch.training.live import LiveEncoder
from simsearch.training.negatives import Mined, mine_negatives
from simsearch.training.plan import mined_of
from simsearch.training.workers import Workers
from simsearch.wording import counted


class Miner:
    """Gives the data sets of a run their hard negatives at the beginning of an epoch.

    Those that are known come first; others are mined before the first one by `base`, if there is
    one, and again every `negatives_every` epochs by the encoder as it then is; enough of them for
    each epoch to take others, as far as they go. The first worker mines, and writes down what all
    of them read.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        datasets: Sequence[DataSet],
        config: TrainingConfig,
        *,
        epochs: int,
        base: Embedder | None,
        directory: Path,
        workers: Workers,
        say: Callable[[str], None],
    ) -> None:
        self._due: list[tuple[Part, DataSet, int]] = []
        for part, dataset in zip(parts, datasets, strict=True):
            count = mined_of(part, config)
            if count:
                self._due.append((part, dataset, count))
        self._config = config
        self._epochs = epochs
        self._base = base
        self._directory = directory
        self._workers = workers
        self._say = say
        self.found: list[str] = []

    def __call__(self, epoch: int, encoder: LiveEncoder) -> None:
        """Bring the negatives up to an epoch that begins, or goes on after a kill."""
        if not self._due:
            return
        every = self._config.negatives_every
        mined_at = epoch - epoch % every if every else 0
        path = self._directory / f"negatives-{mined_at:04d}.json"
        if self._workers.first and not path.is_file():
            miner = encoder if mined_at or self._base is None else self._base
            replace_text(path, json.dumps(self._mine(mined_at, miner)))
        self._workers.wait()
        content = json.loads(path.read_text(encoding="utf-8"))
        self.found = content["found"]
        texts = content["texts"]
        for (part, dataset, count), negatives in zip(self._due, content["negatives"], strict=True):
            dataset.negatives = [
                _turn(known, [texts[row] for row in mined], epoch - mined_at, count)
                for known, mined in zip(_known(part), negatives, strict=True)
            ]

    def _mine(self, epoch: int, encoder: Embedder) -> Mapping[str, Any]:
        """Return the distinct texts, the rows of each pair's negatives in them, what was found."""
        config = self._config
        epochs = min(self._epochs - epoch, config.negatives_every or self._epochs)
        row: dict[str, int] = {}
        all_negatives, found = [], []
        for part, _, count in self._due:
            originals = [pair for pair in part.originals if isinstance(pair, Pair)]
            mined = mine_negatives(
                encoder,
                originals,
                [*(pair.positive for pair in originals), *part.distractors],
                count=min(count * epochs, config.negatives_window),
                window=config.negatives_window,
                margin=config.negatives_margin,
                seed=config.seed + epoch,
            )
            rows = [[row.setdefault(text, len(row)) for text in own] for own in mined.negatives]
            # An added pair is an original in other words: it shares the original's negatives.
            all_negatives.append([*rows, *(rows[original] for original in part.added)])
            found.append(_told(mined, part.name, epoch, known=sum(map(bool, _known(part)))))
            self._say(found[-1])
        return {"texts": list(row), "negatives": all_negatives, "found": found}


def _known(part: Part) -> list[Sequence[str]]:
    """Return the texts that are known not to answer each pair; an added one has its original's."""
    known = [
        part.negatives.get(fold(pair.anchor), ()) if isinstance(pair, Pair) else ()
        for pair in part.originals
    ]
    return [*known, *(known[original] for original in part.added)]


def _share(texts: Sequence[str], turn: int, count: int) -> list[str]:
    """Return which of a pair's negatives an epoch takes, the first of them having turn 0."""
    taken = min(count, len(texts))
    return [texts[(turn * count + number) % len(texts)] for number in range(taken)]


def _turn(known: Sequence[str], mined: Sequence[str], turn: int, count: int) -> list[str]:
    """Return which negatives of a pair an epoch takes: known ones first, of which nobody doubts."""
    first = _share(known, turn, count)
    others = [text for text in mined if text not in known]
    return first + _share(others, turn, count - len(first))


def _told(mined: Mined, name: str, epoch: int, *, known: int) -> str:
    when = f"before epoch {epoch + 1}" if epoch else "before training"
    count = sum(map(len, mined.negatives))
    near = (
        ""
        if mined.negative_similarity is None
        else (
            f", similarity to the anchor {mined.negative_similarity:.2f} "
            f"(of the positives {mined.positive_similarity:.2f})"
        )
    )
    return (
        f"{f'{name}: ' if name else ''}{count:,} hard negatives mined {when} for "
        f"{counted(len(mined.negatives), 'pair')}, {mined.pairs_without:,} without{near}; "
        "passed over: "
        f"{mined.known:,} known answers, {mined.too_near:,} too near to the positive's score, "
        f"{mined.near_copies:,} near-copies of it"
        + (f"; {known:,} pairs have known negatives" if known else "")
    )
