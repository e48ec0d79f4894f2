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
from simsearch.training.live import LiveEncoder
from simsearch.training.negatives import Mined, mine_negatives
from simsearch.training.plan import Part, minable
from simsearch.training.workers import Workers


class Miner:
    """Gives the data sets of a run their hard negatives at the beginning of an epoch.

    Before the first one by `base`, if there is one, and again every `negatives_every` epochs by the
    encoder as it then is. The first worker mines, and writes down what all of them read.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        datasets: Sequence[DataSet],
        config: TrainingConfig,
        *,
        base: Embedder | None,
        directory: Path,
        workers: Workers,
        say: Callable[[str], None],
    ) -> None:
        self._due: list[tuple[Part, DataSet, int]] = []
        for part, dataset in zip(parts, datasets, strict=True):
            count = part.objective.negatives if config.negatives is None else config.negatives
            if count and minable(part):
                self._due.append((part, dataset, count))
        self._config = config
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
        for (_, dataset, __), negatives in zip(self._due, content["negatives"], strict=True):
            dataset.negatives = negatives

    def _mine(self, epoch: int, encoder: Embedder) -> Mapping[str, Any]:
        all_negatives, found = [], []
        for part, _, count in self._due:
            originals = [pair for pair in part.originals if isinstance(pair, Pair)]
            mined = mine_negatives(
                encoder,
                originals,
                [*(pair.positive for pair in originals), *part.data.distractors],
                count=count,
                window=self._config.negatives_window,
                margin=self._config.negatives_margin,
                seed=self._config.seed + epoch,
            )
            # An added pair is an original in other words: it shares the original's negatives.
            shared = [mined.negatives[row] for row in part.added]
            all_negatives.append([*mined.negatives, *shared])
            found.append(_told(mined, part.name, epoch))
            self._say(found[-1])
        return {"negatives": all_negatives, "found": found}


def _told(mined: Mined, name: str, epoch: int) -> str:
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
        f"{len(mined.negatives):,} pairs, {mined.pairs_without:,} without{near}; passed over: "
        f"{mined.known:,} known answers, {mined.too_near:,} too near to the positive's score, "
        f"{mined.near_copies:,} near-copies of it"
    )
