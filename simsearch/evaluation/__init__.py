"""How good is it, and is the difference real? Pure: scores and labels in, numbers out.

retrieval        qrels and a run -> ndcg@k, mrr@k, recall@k, hit_rate@k, map, one score per query
correlation      two series -> Spearman, Pearson
labels           classes and the right ones -> accuracy, macro F1, per class, calibration error
calibration      scores and what matched -> a curve to probabilities, its error, how reliable it is
classification   what is labelled 0 or 1, and scores -> average precision, best F1, area under ROC
spans            labelled ranges and the right ones -> strict precision, recall, F1
significance     scores of two systems on the same units -> difference, interval, p
"""

from __future__ import annotations

from simsearch.evaluation.calibration import (
    LEAST_EXAMPLES,
    CalibrationCurve,
    CalibrationMethod,
    FittedCurve,
    ReliabilityBin,
    calibration_error,
    fit_curve,
    log_loss,
    reliability,
    sigmoid,
)
from simsearch.evaluation.classification import (
    ThresholdScore,
    average_precision_score,
    best_f1,
    roc_auc_score,
)
from simsearch.evaluation.correlation import pearson, spearman
from simsearch.evaluation.labels import (
    LabelScore,
    accuracy,
    class_scores,
    confusion_matrix,
    expected_calibration_error,
    label_scores,
    macro_f1,
    micro_f1,
)
from simsearch.evaluation.retrieval import (
    DEFAULT_METRICS,
    Qrels,
    RetrievalScores,
    Run,
    average_precision,
    hit_rate,
    ndcg,
    rank,
    recall,
    reciprocal_rank,
    score_run,
)
from simsearch.evaluation.significance import (
    Difference,
    SwapScale,
    bootstrap_statistic,
    paired_bootstrap,
)
from simsearch.evaluation.spans import SpanScores, compare_spans, score_spans

__all__ = [
    "DEFAULT_METRICS",
    "LEAST_EXAMPLES",
    "CalibrationCurve",
    "CalibrationMethod",
    "Difference",
    "FittedCurve",
    "LabelScore",
    "Qrels",
    "ReliabilityBin",
    "RetrievalScores",
    "Run",
    "SpanScores",
    "SwapScale",
    "ThresholdScore",
    "accuracy",
    "average_precision",
    "average_precision_score",
    "best_f1",
    "bootstrap_statistic",
    "calibration_error",
    "class_scores",
    "compare_spans",
    "confusion_matrix",
    "expected_calibration_error",
    "fit_curve",
    "hit_rate",
    "label_scores",
    "log_loss",
    "macro_f1",
    "micro_f1",
    "ndcg",
    "paired_bootstrap",
    "pearson",
    "rank",
    "recall",
    "reciprocal_rank",
    "reliability",
    "roc_auc_score",
    "score_run",
    "score_spans",
    "sigmoid",
    "spearman",
]
