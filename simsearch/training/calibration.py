"""The calibration of a tuned encoder, on the held-out data, which trained nothing of it.

The same data gives its error, by cross-validation: what a curve says of a query is held against
the truth only where the curve was fitted, and chosen, on other queries.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from simsearch.encoder import Encoder
from simsearch.errors import InvalidData
from simsearch.evaluation import Qrels, ReliabilityBin
from simsearch.formats import Example
from simsearch.records import (
    ClassifiedText,
    ClassPair,
    LabelledPair,
    LabelledText,
    Pair,
    ScoredPair,
    Triplet,
    UnlabelledText,
)
from simsearch.search_index import (
    CalibrationReport,
    Embedder,
    JudgedScores,
    RetrievalTask,
    SearchIndex,
    calibrate,
    judge_hits,
    judge_index_hits,
    judge_pairs,
)
from simsearch.training.config import TrainingConfig
from simsearch.training.examples import KIND_NAMES, fold
from simsearch.training.held_out import (
    HeldOut,
    HeldOutPairs,
    HeldOutRetrieval,
    check_match_score,
    make_held_out,
)

NO_MATCH_SCORE = (
    "scored pairs do not say which of them match: give the score from which on they do "
    "(--match-score)"
)


@dataclass(frozen=True, slots=True)
class CalibrationOutcome:
    """What became of a calibration: the report of it, or None and the `reason` why there is none.

    `measured_on` says in words what the probabilities are those of.
    """

    report: CalibrationReport | None
    measured_on: str = ""
    reason: str = ""


def telling_matches(held_outs: Iterable[HeldOut]) -> HeldOut | None:
    """Return the first held-out data that says which texts match; None where it is all of classes.

    In a joint run it need not be the one that decides.
    """
    return next(
        (one for one in held_outs if isinstance(one, HeldOutRetrieval | HeldOutPairs)), None
    )


def calibrate_held_out(
    held_out: HeldOut | None, encoder: Embedder, *, fingerprint: str, config: TrainingConfig
) -> CalibrationOutcome:
    """Calibrate an encoder on the held-out data, whatever kind of answers that knows.

    Scored pairs need `config.match_score`, from which on two texts count as a match. Pairs of
    named classes say nothing of similarity.
    """
    measured_on = "the nearest texts of held-out queries"
    judged: JudgedScores | None = None
    if isinstance(held_out, HeldOutRetrieval):
        judged = judge_hits(encoder, held_out.task)
    elif isinstance(held_out, HeldOutPairs):
        matches = held_out.matches(from_score=config.match_score)
        if matches is None:
            return CalibrationOutcome(None, reason=NO_MATCH_SCORE)
        measured_on = "held-out pairs"
        judged = judge_pairs(encoder, held_out.first, held_out.second, matches.tolist())
    if judged is None:
        return CalibrationOutcome(None, reason="named classes do not say what matches")
    try:
        report = calibrate(judged, fingerprint=fingerprint, dim=encoder.dim, seed=config.seed)
    except InvalidData as error:
        return CalibrationOutcome(None, reason=str(error))
    return CalibrationOutcome(report, measured_on)


def calibration_lines(outcome: CalibrationOutcome) -> list[str]:
    """Return what a report says of a calibration."""
    if outcome.report is None:
        return [f"none, so `probability` is null: {outcome.reason}"]
    found = outcome.report.calibration
    losses = ", ".join(f"{name} {loss:.4f}" for name, loss in found.log_losses.items())
    among = "" if found.candidates is None else f", each among {found.candidates:,}"
    return [
        f"measured on {outcome.measured_on}: {found.scored:,} similarities of {found.units:,} "
        f"{'pairs' if found.candidates is None else 'queries'}{among}, {found.matches:,} of them "
        "of a match",
        f"{found.curve.method} was taken; log-loss, cross-validated: {losses}",
        f"expected calibration error {found.error:.4f}, cross-validated (5 folds, no query in "
        "two; each fold chooses its curve without it): the curve that is kept is fitted on all",
    ]


def reliability_rows(bins: Sequence[ReliabilityBin]) -> list[tuple[str, str, str, str]]:
    """Return the rows of a table: predicted range, number, mean prediction, share of matches."""
    return [
        (
            f"{part.low:.1f} .. {part.high:.1f}",
            f"{part.count:,}",
            f"{part.predicted:.3f}",
            f"{part.observed:.3f}",
        )
        for part in bins
    ]


RELIABILITY_HEADER = ("predicted", "number", "mean prediction", "matches")
RELIABILITY_PICTURE = "reliability.png"


def draw_reliability(path: Path, bins: Sequence[ReliabilityBin]) -> None:
    """Draw how often what was predicted came true, beside the diagonal of true probabilities."""
    # The object interface: pyplot would keep state, and choose a backend that needs a screen.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.5, 6), layout="constrained")
    upper, lower = figure.subplots(2, 1, height_ratios=(3, 1), sharex=True)
    upper.plot([0, 1], [0, 1], color="tab:gray", linewidth=1, linestyle="--")
    upper.plot(
        [part.predicted for part in bins],
        [part.observed for part in bins],
        color="tab:blue",
        marker="o",
    )
    upper.set(title="Reliability", ylabel="share of matches", xlim=(0, 1), ylim=(-0.02, 1.02))
    middles = [(part.low + part.high) / 2 for part in bins]
    lower.bar(middles, [part.count for part in bins], width=0.09, color="tab:blue")
    lower.set(xlabel="predicted probability", ylabel="number", yscale="log")
    figure.savefig(path, dpi=110)


def calibrate_model(
    encoder: Encoder,
    data: Sequence[Example] | RetrievalTask,
    *,
    match_score: float | None = None,
    seed: int = 0,
) -> CalibrationReport:
    """Calibrate an encoder that exists already, on answers that did not train it.

    Pairs search among their own positives; a retrieval task has its corpus. `match_score` as in
    `TrainingConfig`.

    Raises:
        InvalidData: the data does not say what matches, or is too little.
    """
    if isinstance(data, RetrievalTask):
        held_out: HeldOut = HeldOutRetrieval(data)
    else:
        _refuse_classes(data)
        held_out = make_held_out(data, distractor_limit=0, seed=seed)
    check_match_score([held_out], match_score)
    config = TrainingConfig(match_score=match_score, seed=seed)
    return _report_or_refuse(
        calibrate_held_out(held_out, encoder, fingerprint=encoder.fingerprint, config=config)
    )


def calibrate_index(
    index: SearchIndex,
    data: Sequence[Example] | RetrievalTask,
    *,
    match_score: float | None = None,
    seed: int = 0,
) -> tuple[CalibrationReport, int]:
    """Calibrate the encoder of an index on the hits of that index, and keep the calibration in it.

    Answers are documents: of a retrieval task those with the ids of its qrels (its corpus is not
    read), of pairs those with the text of a positive, after folding case, space and punctuation.
    Returns the report, and how many queries were left out because no answer is in the index.
    Labelled and scored pairs are compared with each other, not with the documents.

    Raises:
        InvalidData: as `calibrate_model`; or no answer is in the index.
    """
    if isinstance(data, RetrievalTask) or isinstance(data[0], Pair | Triplet):
        check_match_score([], match_score)
        queries, qrels, left_out = answerable(index, data)
        judged = judge_index_hits(index, queries, qrels)
    else:
        _refuse_classes(data)
        pairs = HeldOutPairs([e for e in data if isinstance(e, LabelledPair | ScoredPair)])
        check_match_score([pairs], match_score)
        matches = pairs.matches(from_score=match_score)
        if matches is None:
            raise InvalidData(NO_MATCH_SCORE)
        judged = judge_pairs(index.encoder, pairs.first, pairs.second, matches.tolist())
        left_out = 0
    info = index.info()
    report = calibrate(judged, fingerprint=info.fingerprint, dim=info.dim, seed=seed)
    index.calibrate(report.calibration)
    return report, left_out


def answerable(
    index: SearchIndex, data: Sequence[Example] | RetrievalTask
) -> tuple[Mapping[str, str], Qrels, int]:
    """Return the queries of pairs or of a task that an index can answer, and by which documents.

    With them the number of queries that were left out; what an answer is tells `calibrate_index`.

    Raises:
        InvalidData: there is none, or the data says nothing of answers.
    """
    if isinstance(data, RetrievalTask):
        queries, qrels = data.queries, data.qrels
    elif isinstance(data[0], Pair | Triplet):
        queries, qrels = _sought(index, data)
    else:
        raise InvalidData(
            "this data has no queries (expected pairs (anchor, positive), or a BEIR folder)"
        )
    answers = {name for judged in qrels.values() for name in judged}
    there = index.known_ids(sorted(answers))
    kept = {
        name: text
        for name, text in queries.items()
        if any(gain > 0 and each in there for each, gain in qrels[name].items())
    }
    if not kept:
        raise InvalidData(f"{index.path} holds no answer of this data (other ids or texts?)")
    return kept, qrels, len(queries) - len(kept)


def _sought(
    index: SearchIndex, pairs: Sequence[Example]
) -> tuple[dict[str, str], dict[str, dict[str, int]]]:
    """Return the distinct anchors, and which documents have the text of a positive of theirs."""
    # In the order of the pairs, not of a set: by it queries are divided into folds.
    wanted: dict[str, dict[str, None]] = {}
    for pair in pairs:
        if isinstance(pair, Pair | Triplet):
            wanted.setdefault(fold(pair.positive), {})[pair.anchor] = None
    qrels: dict[str, dict[str, int]] = {
        anchor: {} for anchors in wanted.values() for anchor in anchors
    }
    for document in index.iterate():
        for text in {fold(document.text), fold(document.content)}:
            for anchor in wanted.get(text, ()):
                qrels[anchor][document.id] = 1
    return {anchor: anchor for anchor in qrels}, qrels


def _refuse_classes(data: Sequence[Example]) -> None:
    if isinstance(data[0], ClassPair | LabelledText | ClassifiedText | UnlabelledText):
        raise InvalidData(
            f"{KIND_NAMES[type(data[0])]} do not say which text answers which (expected pairs: "
            "anchor and positive, or two sentences and a label of 0 and 1 or a score; or a BEIR "
            "folder)"
        )


def _report_or_refuse(outcome: CalibrationOutcome) -> CalibrationReport:
    if outcome.report is None:
        raise InvalidData(outcome.reason)
    return outcome.report


def calibration_facts(report: CalibrationReport) -> dict[str, Any]:
    """Return what there is to say of a calibration, as JSON."""
    found = report.calibration
    return {
        "method": str(found.curve.method),
        "measured_on": found.measured_on,
        "candidates": found.candidates,
        "units": found.units,
        "scored": found.scored,
        "matches": found.matches,
        "log_loss": dict(found.log_losses),
        "expected_calibration_error": found.error,
        "reliability": [asdict(part) for part in report.bins],
    }
