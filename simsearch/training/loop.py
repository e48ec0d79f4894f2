"""The training loop: batches in order, one optimiser step each, checkpoints, the best weights."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn

from simsearch.encoder import PairScorer
from simsearch.encoder.layout import Layout
from simsearch.encoder.precision import cpu_has_bfloat16
from simsearch.errors import EncoderError
from simsearch.training.adaptation import Adaptation
from simsearch.training.batches import Batch, Batches, DataSet, Draw
from simsearch.training.checkpoints import Best, Checkpoints, TrainingState
from simsearch.training.config import TrainingConfig, TrainingPrecision
from simsearch.training.examples import texts_of
from simsearch.training.live import LiveEncoder
from simsearch.training.losses import SoftmaxPairLoss
from simsearch.training.micro_batches import MicroBatches
from simsearch.training.optimization import (
    Weights,
    make_optimizer,
    schedule_factor,
    set_rate,
)
from simsearch.training.resolve import Resolved
from simsearch.training.workers import Workers

# Called after each optimiser step with (steps done, steps in all).
StepProgress = Callable[[int, int], None]

# What decodes pairs, classes or tags begins with random weights, and has further to go than the
# encoder: its rate is so many times that of the encoder.
_DECODER_RATE = 20.0
_SHOWN = 3  # examples of a batch whose loss is not finite
_SEEDS_A_STEP = 1 << 16  # more than a batch has micro-batches


@dataclass(frozen=True, slots=True)
class Trained:
    """What a run left beside the weights.

    `log` has a record for each step, `dev` one for each epoch; `stopped` says why the run ended
    before its last step, None if it did not. `kept_step` is the step whose weights it ended with.
    `computed` says on what, in which numbers: ("cpu", "bf16").
    """

    log: Sequence[Mapping[str, float]]
    dev: Sequence[Mapping[str, float]]
    stopped: str | None
    kept_step: int
    pair_scorer: PairScorer | None
    computed: tuple[str, TrainingPrecision]


class Training:
    """One run: an encoder, its data sets, and all that moves while it goes on.

    `mine` is called with the epoch and the encoder when hard negatives are due; `dev` scores the
    encoder on the dev part, higher being better.
    """

    def __init__(
        self,
        model: SentenceTransformer,
        layout: Layout,
        datasets: Sequence[DataSet],
        *,
        config: TrainingConfig,
        numbers: Resolved,
        adaptation: Adaptation,
        checkpoints: Checkpoints,
        workers: Workers,
        dev: Callable[[LiveEncoder], float] | None = None,
        mine: Callable[[int, LiveEncoder], None] | None = None,
    ) -> None:
        self.model = model
        self._datasets = datasets
        self._config = config
        self._numbers = numbers
        self._adaptation = adaptation
        self._checkpoints = checkpoints
        self._workers = workers
        self._dev = dev
        self._mine = mine
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)  # a decoder begins with random weights
            self._losses = [
                dataset.objective.loss(model, len(dataset.classes), config).to(model.device)
                for dataset in datasets
            ]
        decoders: dict[str, nn.Module] = {
            f"loss.{number}.": loss
            for number, loss in enumerate(self._losses)
            if any(True for _ in loss.parameters())
        }
        bfloat16 = use_bfloat16(config.precision, model.device)
        self._computed = (
            model.device.type,
            TrainingPrecision.BF16 if bfloat16 else TrainingPrecision.FP32,
        )
        self.weights = Weights({"": model, **decoders}, bfloat16=model[0] if bfloat16 else None)
        # After the weights: what numbers they are in decides how much of a graph is kept.
        self._micro_batches = MicroBatches(
            model,
            budget=config.micro_batch_tokens,
            pad_id=layout.pad_id,
            workers=workers,
        )
        self.encoder = LiveEncoder(model, layout, self._micro_batches)
        self._optimizer = make_optimizer(
            numbers.optimizer,
            self.weights,
            rate=numbers.learning_rate,
            weight_decay=config.weight_decay,
            rate_factor=self._rate_factor,
        )
        self._batches = Batches(
            datasets,
            batch_size=numbers.batch_size,
            sampling=numbers.sampling,
            seed=config.seed,
            layout=layout,
        )
        self._order: list[tuple[int, Draw]] = [
            (epoch, draw) for epoch in range(numbers.epochs) for draw in self._batches.order(epoch)
        ]
        self._log: list[Mapping[str, float]] = []
        self._scores: list[Mapping[str, float]] = []
        self._best: Best | None = None

    @property
    def steps(self) -> int:
        """Optimiser steps of the whole run."""
        return len(self._order)

    def _rate_factor(self, name: str) -> float:
        if name.startswith("loss."):
            return _DECODER_RATE
        return self._adaptation.rate_factor(name)

    def resume(self) -> int:
        """Take up the last whole checkpoint; return the number of steps done, 0 without one."""
        state = self._checkpoints.read(self.weights, self._optimizer)
        if state is None:
            return 0
        self._log, self._scores, self._best = [*state.log], [*state.dev], state.best
        return state.step

    def run(self, *, start: int = 0, progress: StepProgress | None = None) -> Trained:
        """Train from step `start` to the end, and leave the model with its best weights.

        Raises:
            InvalidInput: there are fewer steps than phases of the adaptation.
            EncoderError: the loss is not finite any more; the last checkpoint stays.
        """
        self._adaptation.check_steps(self.steps)
        # A run may have been killed after the checkpoint at which it stopped, or after its last
        # step: then the report still wants to know what was mined.
        stopped = self._out_of_patience() if start else None
        if start and (stopped or start == self.steps) and self._mine is not None:
            self._mine(self._order[start - 1][0], self.encoder)
        written = time.monotonic()
        self.model.train()
        batches = self._made_ahead(start, start if stopped else self.steps)
        for step, epoch, batch in batches:
            self._step(step, batch)
            if progress is not None:
                progress(step + 1, self.steps)
            if self._ends(step):
                self._score(step, epoch)
                stopped = self._out_of_patience()
            due = time.monotonic() - written > 60 * self._config.checkpoint_minutes
            if self._workers.first and (due or stopped or self._ends(step)):
                self._write(step + 1)
                written = time.monotonic()
            if stopped:
                break
        return self._end(stopped)

    def _made_ahead(self, start: int, end: int) -> Iterator[tuple[int, int, Batch]]:
        """Yield step, epoch and batch; the next batch is tokenized while a step goes on.

        Not over the beginning of an epoch, where hard negatives are mined, perhaps, by the encoder
        as it is then.
        """
        with ThreadPoolExecutor(1, thread_name_prefix="batches") as thread:
            ahead: Future[Batch] | None = None
            for step in range(start, end):
                epoch, draw = self._order[step]
                if self._mine is not None and (step == start or self._begins(step)):
                    self._mine(epoch, self.encoder)
                batch = self._batches.batch(draw) if ahead is None else ahead.result()
                ahead = None
                if step + 1 < end and not self._begins(step + 1):
                    ahead = thread.submit(self._batches.batch, self._order[step + 1][1])
                yield step, epoch, batch

    def _begins(self, step: int) -> bool:
        return step == 0 or self._order[step - 1][0] != self._order[step][0]

    def _ends(self, step: int) -> bool:
        return step + 1 == self.steps or self._order[step + 1][0] != self._order[step][0]

    def _step(self, step: int, batch: Batch) -> None:
        """Move the weights by one batch."""
        numbers = self._numbers
        self._adaptation.set_phase(step, self.steps)
        loss, weight = self._losses[batch.dataset], self._datasets[batch.dataset].weight
        target = batch.target.to(self.model.device)

        def of(embeddings: Tensor) -> Tensor:
            columns = [embeddings[column.to(embeddings.device)] for column in batch.columns]
            value: Tensor = loss(columns, target)
            return value

        seed = (self._config.seed * self.steps + step) * _SEEDS_A_STEP
        value = self._micro_batches.backward(batch.texts, of, seed=seed % (1 << 62))
        self._workers.sum_gradients(self.model.parameters())
        norm = self.weights.gather_gradients(times=weight) if math.isfinite(value) else math.nan
        if not math.isfinite(norm):
            raise EncoderError(self._not_finite(step, batch, value))
        warmup = math.ceil(self._config.warmup * self.steps)
        factor = schedule_factor(numbers.schedule, step, warmup=warmup, steps=self.steps)
        set_rate(self._optimizer, factor)
        self._optimizer.step()
        self.weights.follow()
        self._log.append(
            {
                "step": step + 1,
                "epoch": self._order[step][0] + 1,
                "loss": value,
                "gradient_norm": norm,
                "learning_rate": numbers.learning_rate * factor,
            }
        )

    def _not_finite(self, step: int, batch: Batch, value: float) -> str:
        what = "the gradient is not finite" if math.isfinite(value) else f"the loss is {value}"
        dataset = self._datasets[batch.dataset]
        texts = [texts_of(dataset.examples[row])[0] for row in batch.rows[:_SHOWN]]
        shown = ", ".join(repr(text[:60]) for text in texts)
        more = f" and {len(batch.rows) - len(texts)} more" if len(batch.rows) > len(texts) else ""
        return (
            f"{what} at step {step + 1} of {self.steps} (examples "
            f"{f'of {dataset.name} ' if dataset.name else ''}that begin {shown}{more}); training "
            "stopped (lower --learning-rate)"
        )

    def _score(self, step: int, epoch: int) -> None:
        """Score on the dev part at the end of an epoch, and keep the weights if they are best."""
        if self._dev is None or not self._workers.first:
            return
        score = self._dev(self.encoder)
        self._scores.append({"epoch": epoch + 1, "step": step + 1, "score": score})
        # Of equal ones the last: a decoder, which the dev part does not look at, has learnt more.
        if self._best is None or score >= self._best.score:
            self._best = self._checkpoints.write_best(step + 1, score, self.weights)

    def _out_of_patience(self) -> str | None:
        patience = self._config.patience
        if patience is None:
            return None
        best, since = -math.inf, 0
        for record in self._scores:
            improved = record["score"] > best + self._config.min_improvement
            best, since = (record["score"], 0) if improved else (best, since + 1)
        out = self._workers.agree(since >= patience)
        return f"no improvement on the dev part in {patience} epochs" if out else None

    def _write(self, step: int) -> None:
        state = TrainingState(step, self._log, self._scores, self._best)
        self._checkpoints.write(state, self.weights, self._optimizer)

    def _end(self, stopped: str | None) -> Trained:
        """Give back the best weights, whole, and leave the model in float32."""
        last = int(self._log[-1]["step"]) if self._log else 0
        kept = last if self._best is None else self._best.step
        if self._best is not None and self._best.step != last:
            self._checkpoints.load_best(self._best, self.weights)
        self.weights.release()
        self._adaptation.finish()
        self.model.eval()
        return Trained(self._log, self._scores, stopped, kept, self._pair_scorer(), self._computed)

    def _pair_scorer(self) -> PairScorer | None:
        for dataset, loss in zip(self._datasets, self._losses, strict=True):
            if isinstance(loss, SoftmaxPairLoss):
                weight, bias = loss.decoder.weight, loss.decoder.bias
                return PairScorer(dataset.classes, weight.numpy(force=True), bias.numpy(force=True))
        return None


def use_bfloat16(precision: TrainingPrecision | str, device: torch.device) -> bool:
    """Return whether texts are to be embedded in bfloat16; `auto` where the machine is fast in it.

    Raises:
        InvalidInput: there is no precision of that name.
    """
    if precision != TrainingPrecision.AUTO:
        return TrainingPrecision(precision) is TrainingPrecision.BF16
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and cpu_has_bfloat16()


def snapshot(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return copies of tensors, which stay when training goes on."""
    return {name: tensor.detach().clone() for name, tensor in state.items()}
