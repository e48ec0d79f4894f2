"""An encoder goes through training: loaded, adapted, trained, mixed where it forgot too much."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from dataclasses import replace as with_changes
from pathlib import Path

from sentence_transformers import SentenceTransformer
from torch import Tensor

from simsearch.encoder import Encoder
from simsearch.encoder.layout import Layout
from simsearch.encoder.loading import read_whole_layout
from simsearch.errors import InvalidData
from simsearch.search_index import Embedder
from simsearch.training.adaptation import Adaptation, prepare_adaptation
from simsearch.training.batches import DataSet
from simsearch.training.checkpoints import Checkpoints
from simsearch.training.config import Adapt, TrainingConfig, parse_adapt
from simsearch.training.forgetting import (
    Forgetting,
    choose_share,
    mix,
    mixing_curve,
    score_base,
    score_general,
)
from simsearch.training.live import LiveEncoder
from simsearch.training.loop import StepProgress, Trained, Training, snapshot
from simsearch.training.mining import Miner
from simsearch.training.plan import Plan
from simsearch.training.trainable import load_trainable
from simsearch.training.workers import Workers

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Session:
    """What training leaves in memory.

    `pristine` are the weights that it began with, by the names that they have in the end; `mined`
    tells what hard negatives were found.
    """

    model: SentenceTransformer
    layout: Layout
    live: LiveEncoder
    trained: Trained
    adaptation: Adaptation
    pristine: Mapping[str, Tensor]
    mined: list[str]


def train_session(
    base: Encoder,
    mining: Embedder,
    plan: Plan,
    config: TrainingConfig,
    *,
    work: Path,
    resume: bool,
    workers: Workers,
    say: Say,
    progress: StepProgress,
) -> Session:
    """Train an encoder by a plan, from the beginning or from the last checkpoint in `work`.

    Hard negatives are first mined with `mining`, which embeds as the base does.

    Raises:
        InvalidData: the encoder is an index's copy, or the data does not make batches.
        InvalidInput: the adaptation does not fit the encoder.
        EncoderError: the loss is not finite any more.
    """
    layout = _trainable_layout(base)
    model = load_trainable(layout, from_scratch=config.seed if config.from_scratch else None)
    adaptation, pristine = _adapted(model, config)
    datasets = [
        DataSet(
            part.name,
            part.training,
            part.objective,
            added=part.added,
            weight=part.weight,
        )
        for part in plan.parts
    ]
    miner = Miner(
        plan.parts,
        datasets,
        config,
        epochs=plan.numbers.epochs,
        # Random weights find no negative that is hard: what they have become mines for itself.
        base=None if config.from_scratch else mining,
        directory=work,
        workers=workers,
        say=say,
    )
    checkpoints = Checkpoints(work)
    training = Training(
        model,
        layout,
        datasets,
        config=config,
        numbers=plan.numbers,
        adaptation=adaptation,
        checkpoints=checkpoints,
        workers=workers,
        dev=dev_score(plan),
        mine=miner,
    )
    start = _taken_up(training, checkpoints, say) if resume else 0
    trained = training.run(start=start, progress=progress)
    if trained.stopped:
        say(f"stopped early: {trained.stopped}")
    return Session(model, layout, training.encoder, trained, adaptation, pristine, miner.found)


def _trainable_layout(base: Encoder) -> Layout:
    if base.directory is None:
        raise InvalidData(f"{base.name} is an index's copy of an encoder, which cannot be trained")
    return with_changes(read_whole_layout(base.directory), max_length=base.max_length)


def _adapted(
    model: SentenceTransformer, config: TrainingConfig
) -> tuple[Adaptation, dict[str, Tensor]]:
    """Adapt a network; return with it the weights that it begins with (see `Session`)."""
    pristine = snapshot(model.state_dict())
    adaptation = prepare_adaptation(model, config)
    # What LoRA adds is merged in the end; what the others add stays, and moves other names.
    if adaptation.method is not Adapt.LORA:
        pristine = snapshot(model.state_dict())
    return adaptation, pristine


def _taken_up(training: Training, checkpoints: Checkpoints, say: Say) -> int:
    """Take up the last whole checkpoint; return the number of steps done."""
    start = training.resume()
    for folder in checkpoints.passed_over:
        say(f"{folder} is not whole and is passed over")
    if start:
        say(f"resumed after step {start} of {training.steps}")
    else:
        say("there is no whole checkpoint to resume from: training begins anew")
    return start


def check_layers(base: Encoder, plan: Plan, config: TrainingConfig) -> None:
    """Refuse an adaptation that an encoder's layers do not allow, before anything is scored.

    `last-N` of an encoder that has not so many, `gradual` in fewer steps than it has phases.

    Raises:
        InvalidInput: saying how many there are.
    """
    method, _ = parse_adapt(config.adapt)
    if method in (Adapt.LAST, Adapt.GRADUAL) and base.directory is not None:
        found = prepare_adaptation(load_trainable(read_whole_layout(base.directory)), config)
        found.check_steps(plan.most_steps)


def dev_score(plan: Plan) -> Callable[[LiveEncoder], float] | None:
    """Return what scores an encoder on the dev part; None if there is none."""
    dev = plan.dev
    if dev is None:
        return None
    return lambda encoder: dev.score(encoder).metrics[dev.deciding_metric]


def limit_forgetting(
    session: Session, base: Encoder, plan: Plan, config: TrainingConfig, say: Say
) -> Forgetting | None:
    """Score the general set; where too much was forgotten, mix the weights with the base's.

    Returns None where the set says nothing of the base.
    """
    before = score_base(base)
    if before is None:
        return None
    tuned_score = score_general(session.live)
    if before - tuned_score <= config.max_forgetting or config.from_scratch:
        return Forgetting(before, tuned_score, tuned_score)  # nothing to bring back, or to go to
    tuned = snapshot(session.model.state_dict())
    pristine = {name: session.pristine[name] for name in tuned}
    score_dev = dev_score(plan)

    def score(share: float) -> tuple[float | None, float]:
        session.model.load_state_dict(mix(pristine, tuned, share))
        return score_dev(session.live) if score_dev else None, score_general(session.live)

    curve = mixing_curve(score)
    chosen = choose_share(curve, floor=before - config.max_forgetting)
    session.model.load_state_dict(mix(pristine, tuned, chosen.share))
    say(
        f"general set: nDCG@10 {before:.4f} -> {tuned_score:.4f}: that is forgetting; weights "
        f"mixed, {chosen.share:.0%} tuned: {chosen.general:.4f}"
    )
    return Forgetting(before, tuned_score, chosen.general, chosen.share, tuple(curve))
