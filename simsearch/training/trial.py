"""A trial: an encoder trained by a plan, written, exported, and scored on the held-out data."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from dataclasses import replace as with_changes
from pathlib import Path

from simsearch.encoder import Encoder, write_model_file
from simsearch.encoder.runtime import FloatArray
from simsearch.evaluation import Difference
from simsearch.heads import Head
from simsearch.training.calibration import (
    CalibrationOutcome,
    calibrate_held_out,
    telling_matches,
)
from simsearch.training.config import Adapt, TrainingConfig
from simsearch.training.forgetting import Forgetting
from simsearch.training.held_out import Scores
from simsearch.training.loop import Trained
from simsearch.training.plan import Plan
from simsearch.training.session import Say, Session, limit_forgetting, train_session
from simsearch.training.trainable import save_model
from simsearch.training.watched import WatchedEncoder
from simsearch.training.workers import Workers, gpu

# Called with the stage, and how much of it is done: ("train", 3, 57).
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a trial, beside the encoder's directory; the network is not in memory any more.

    `seconds` are those of training, `parameters` how many of its numbers learnt.
    """

    encoder: Encoder
    scores: Mapping[str, Scores]
    calibration: CalibrationOutcome
    trained: Trained
    method: Adapt
    parameters: int
    mined: list[str]
    forgetting: Forgetting | None
    seconds: float

    @property
    def heads(self) -> list[Head]:
        """The heads that were fitted to the encoder."""
        return [one.head for one in self.scores.values() if one.head is not None]


@dataclass(frozen=True, slots=True)
class Trial:
    """What is going to be trained: by which plan, from which encoder, and to whom it is told."""

    plan: Plan
    config: TrainingConfig
    base: Encoder
    workers: Workers
    say: Say
    progress: Progress

    def run(
        self, work: Path, target: Path, *, memory: dict[str, FloatArray], resume: bool
    ) -> Outcome:
        """Train, mix if too much was forgotten, write the encoder to `target`, and score it.

        Checkpoints lie in `work`; `memory` are embeddings of the base.
        """
        began = time.monotonic()
        session = self.train(work, memory=memory, resume=resume)
        seconds = round(time.monotonic() - began, 1)
        forgetting = limit_forgetting(session, self.base, self.plan, self.config, self.say)
        save_model(session.model, target, lower_case=session.layout.lower_case)
        write_model_file(target, {})  # makes it a directory of ours, which keeps its export
        tuned = Encoder.load(target)  # exported, and held against the model
        scored = tuned if gpu() is None else Encoder.load(target, device=gpu())
        watched = self.watched(scored, "score after")
        scores = self.score(watched)
        return Outcome(
            encoder=tuned,
            scores=scores,
            calibration=calibrate_held_out(
                telling_matches(self.plan.held_outs.values()),
                watched,
                fingerprint=tuned.fingerprint,
                config=self.config,
            ),
            trained=session.trained,
            method=session.adaptation.method,
            parameters=session.adaptation.trained,
            mined=session.mined,
            forgetting=forgetting,
            seconds=seconds,
        )

    def train(self, work: Path, *, memory: dict[str, FloatArray], resume: bool) -> Session:
        """Train; in every process of a run, each of which takes a share of every batch."""
        mining = with_changes(self.watched(self.base, "mine negatives"), memory=memory)
        return train_session(
            self.base,
            mining,
            self.plan,
            self.config,
            work=work,
            resume=resume,
            workers=self.workers,
            say=self.say,
            progress=lambda done, total: self.progress("train", done, total),
        )

    def watched(self, encoder: Encoder, stage: str) -> WatchedEncoder:
        """Return an encoder that tells how far it is in a stage."""
        return WatchedEncoder(encoder, lambda done, total: self.progress(stage, done, total))

    def score(self, encoder: WatchedEncoder) -> dict[str, Scores]:
        """Return the scores on the held-out data: the deciding one named "", then the others."""
        return {name: one.score(encoder) for name, one in self.plan.held_outs.items()}

    def compare(
        self, before: Mapping[str, Scores], after: Mapping[str, Scores]
    ) -> dict[str, Difference]:
        """Return the differences, by metric."""
        return {
            _metric_name(name, metric): difference
            for name, held_out in self.plan.held_outs.items()
            for metric, difference in held_out.compare(before[name], after[name]).items()
        }


def metrics_of(scores: Mapping[str, Scores]) -> dict[str, float]:
    """Return the figures, by metric."""
    return {
        _metric_name(name, metric): value
        for name, one in scores.items()
        for metric, value in one.metrics.items()
    }


def _metric_name(held_out: str, metric: str) -> str:
    return f"{held_out}: {metric}" if held_out else metric
