"""Pairs in, a better encoder out, and the proof that it is better."""

from simsearch.formats import Example
from simsearch.training.config import TrainingConfig
from simsearch.training.examples import (
    TrainingData,
    load_evaluation_data,
    load_training_data,
)
from simsearch.training.objectives import OBJECTIVES
from simsearch.training.report import TABLE_HEADER, before_after_table
from simsearch.training.run import FinetuneResult, Verdict, finetune

__all__ = [
    "OBJECTIVES",
    "TABLE_HEADER",
    "Example",
    "FinetuneResult",
    "TrainingConfig",
    "TrainingData",
    "Verdict",
    "before_after_table",
    "finetune",
    "load_evaluation_data",
    "load_training_data",
]
