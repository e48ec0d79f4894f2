"""Pairs in, a better encoder out, and the proof that it is better.

Names are loaded when first used: reading the data and refusing a bad request need no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simsearch.formats import Example
    from simsearch.training.config import TrainingConfig
    from simsearch.training.examples import (
        TrainingData,
        load_evaluation_data,
        load_training_data,
    )
    from simsearch.training.int8 import export_int8
    from simsearch.training.objectives import OBJECTIVES
    from simsearch.training.output import check_output
    from simsearch.training.report import TABLE_HEADER, before_after_table
    from simsearch.training.run import FinetuneResult, Verdict, finetune

_HOME = {
    "OBJECTIVES": "simsearch.training.objectives",
    "TABLE_HEADER": "simsearch.training.report",
    "Example": "simsearch.formats",
    "FinetuneResult": "simsearch.training.run",
    "TrainingConfig": "simsearch.training.config",
    "TrainingData": "simsearch.training.examples",
    "Verdict": "simsearch.training.run",
    "before_after_table": "simsearch.training.report",
    "check_output": "simsearch.training.output",
    "export_int8": "simsearch.training.int8",
    "finetune": "simsearch.training.run",
    "load_evaluation_data": "simsearch.training.examples",
    "load_training_data": "simsearch.training.examples",
}

__all__ = [
    "OBJECTIVES",
    "TABLE_HEADER",
    "Example",
    "FinetuneResult",
    "TrainingConfig",
    "TrainingData",
    "Verdict",
    "before_after_table",
    "check_output",
    "export_int8",
    "finetune",
    "load_evaluation_data",
    "load_training_data",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)
