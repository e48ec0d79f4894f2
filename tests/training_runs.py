"""What tests of training runs share: examples, a run on the tiny encoder, what came of it."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path

from conftest import WORDS

from simsearch.encoder.loading import read_whole_layout
from simsearch.records import ClassPair, Pair, ScoredPair
from simsearch.training.adaptation import prepare_adaptation
from simsearch.training.batches import DataSet
from simsearch.training.checkpoints import Checkpoints
from simsearch.training.config import TrainingConfig
from simsearch.training.examples import TrainingData
from simsearch.training.live import LiveEncoder
from simsearch.training.loop import Trained, Training
from simsearch.training.mining import Miner
from simsearch.training.plan import make_plan
from simsearch.training.trainable import load_trainable
from simsearch.training.workers import Workers


def make_pairs(count: int, *, seed: int = 0) -> list[Pair]:
    """Return pairs of two halves of one shuffled sentence: what a random encoder can learn."""
    rng = random.Random(seed)
    pairs = []
    for _ in range(count):
        words = rng.sample(WORDS[:40], 8)
        pairs.append(Pair(" ".join(words[:6]), " ".join(rng.sample(words, 6))))
    return pairs


def make_translations(count: int, *, seed: int = 0) -> list[Pair]:
    """Return pairs whose second text has another word for each of the first: all to be learnt."""
    rng = random.Random(seed)
    words = list(dict.fromkeys(WORDS))
    other = dict(zip(words[:12], words[12:24], strict=True))
    pairs = []
    for _ in range(count):
        chosen = rng.sample(words[:12], 4)
        translated = [other[word] for word in chosen]
        pairs.append(Pair(" ".join(chosen), " ".join(rng.sample(translated, 4))))
    return pairs


def make_class_pairs(count: int, *, seed: int = 0) -> list[ClassPair]:
    """Return pairs that belong together, and pairs that do not."""
    pairs = make_pairs(count, seed=seed)
    return [
        ClassPair(pair.anchor, pairs[n - n % 2].positive, ("same", "other")[n % 2])
        for n, pair in enumerate(pairs)
    ]


def make_scored_pairs(count: int, *, seed: int = 0) -> list[ScoredPair]:
    """Return pairs whose score is the share of words that they have in common."""
    rng = random.Random(seed)
    pairs = []
    for _ in range(count):
        words, shared = rng.sample(WORDS[:40], 12), rng.randrange(7)
        pairs.append(
            ScoredPair(" ".join(words[:6]), " ".join(words[6 - shared : 12 - shared]), shared / 6)
        )
    return pairs


class TinyRun:
    """The training of an encoder in a working directory, put together as `finetune` does.

    `dev` takes the place of the score on the dev part. Made a second time with the same arguments
    it stands for the next process: nothing is shared but what lies in the directory.
    """

    def __init__(
        self,
        encoder: Path,
        work: Path,
        config: TrainingConfig,
        *,
        data: Sequence[TrainingData] | None = None,
        dev: Callable[[LiveEncoder], float] | None = None,
    ) -> None:
        work.mkdir(exist_ok=True)
        self.plan = make_plan(data or [TrainingData(make_pairs(60))], None, config)
        layout = read_whole_layout(encoder)
        self.model = load_trainable(layout)
        adaptation = prepare_adaptation(self.model, config)
        datasets = [DataSet(part.name, part.training, part.objective) for part in self.plan.parts]
        self.told: list[str] = []
        self.checkpoints = Checkpoints(work)
        self.training = Training(
            self.model,
            layout,
            datasets,
            config=config,
            numbers=self.plan.numbers,
            adaptation=adaptation,
            checkpoints=self.checkpoints,
            workers=Workers(),
            dev=dev or self._dev,
            mine=Miner(
                self.plan.parts,
                datasets,
                config,
                epochs=self.plan.numbers.epochs,
                base=None,
                directory=work,
                workers=Workers(),
                say=self.told.append,
            ),
        )

    def _dev(self, encoder: LiveEncoder) -> float:
        assert self.plan.dev is not None
        return float(self.plan.dev.score(encoder).metrics[self.plan.dev.deciding_metric])

    def run(self, *, interrupt_at: int | None = None) -> Trained:
        """Train to the end; or raise KeyboardInterrupt when a step is done, before its checkpoint.

        Raises:
            KeyboardInterrupt: after the step `interrupt_at`.
        """
        return self.training.run(progress=interrupting(interrupt_at))

    def resume(self, *, interrupt_at: int | None = None) -> tuple[int, Trained]:
        """Go on from the last checkpoint; return after which step that was, and what came of it.

        Raises:
            KeyboardInterrupt: after the step `interrupt_at`.
        """
        start = self.training.resume()
        return start, self.training.run(start=start, progress=interrupting(interrupt_at))

    def weights(self) -> dict[str, bytes]:
        """Return all weights, bit by bit."""
        return {
            name: tensor.float().numpy().tobytes()
            for name, tensor in self.model.state_dict().items()
        }


def interrupting(step: int | None) -> Callable[[int, int], None]:
    """Return a progress function that raises KeyboardInterrupt at a step, if there is one."""

    def progress(done: int, total: int) -> None:
        if done == step:
            raise KeyboardInterrupt

    return progress
