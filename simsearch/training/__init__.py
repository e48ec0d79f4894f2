"""Pairs in, a better encoder out, and the proof that it is better.

Names are loaded when first used: reading the data and refusing a bad request need no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from simsearch.lazy import lazy_names

if TYPE_CHECKING:
    from simsearch.formats import Example
    from simsearch.training.calibration import (
        RELIABILITY_HEADER,
        answerable,
        calibrate_index,
        calibrate_model,
        calibration_facts,
        reliability_rows,
    )
    from simsearch.training.config import TrainingConfig
    from simsearch.training.data_findings import DataCheck
    from simsearch.training.examples import TrainingData
    from simsearch.training.feedback import Feedback, read_feedback
    from simsearch.training.int8 import export_int8
    from simsearch.training.objectives import OBJECTIVES
    from simsearch.training.output import check_output, is_run
    from simsearch.training.past_run import held_out_of_run
    from simsearch.training.refused_texts import refused_texts_named
    from simsearch.training.report import (
        TABLE_HEADER,
        TASKS_HEADER,
        before_after_table,
        tasks_table,
    )
    from simsearch.training.result import FinetuneResult, Verdict
    from simsearch.training.run import finetune, inspect
    from simsearch.training.run_file import DataSource, RunSettings, read_run_file
    from simsearch.training.sources import (
        load_evaluation_data,
        load_run_data,
        load_training_data,
    )
    from simsearch.training.workers import is_first_worker

_HOMES = {
    "calibration": (
        "RELIABILITY_HEADER",
        "answerable",
        "calibrate_index",
        "calibrate_model",
        "calibration_facts",
        "reliability_rows",
    ),
    "config": ("TrainingConfig",),
    "data_findings": ("DataCheck",),
    "examples": ("Example", "TrainingData"),
    "feedback": ("Feedback", "read_feedback"),
    "int8": ("export_int8",),
    "objectives": ("OBJECTIVES",),
    "output": ("check_output", "is_run"),
    "past_run": ("held_out_of_run",),
    "refused_texts": ("refused_texts_named",),
    "report": ("TABLE_HEADER", "TASKS_HEADER", "before_after_table", "tasks_table"),
    "result": ("FinetuneResult", "Verdict"),
    "run": ("finetune", "inspect"),
    "run_file": ("DataSource", "RunSettings", "read_run_file"),
    "sources": ("load_evaluation_data", "load_run_data", "load_training_data"),
    "workers": ("is_first_worker",),
}
if not TYPE_CHECKING:  # a type checker would take every name for one of the package
    __getattr__ = lazy_names(__name__, _HOMES)

__all__ = [
    "OBJECTIVES",
    "RELIABILITY_HEADER",
    "TABLE_HEADER",
    "TASKS_HEADER",
    "DataCheck",
    "DataSource",
    "Example",
    "Feedback",
    "FinetuneResult",
    "RunSettings",
    "TrainingConfig",
    "TrainingData",
    "Verdict",
    "answerable",
    "before_after_table",
    "calibrate_index",
    "calibrate_model",
    "calibration_facts",
    "check_output",
    "export_int8",
    "finetune",
    "held_out_of_run",
    "inspect",
    "is_first_worker",
    "is_run",
    "load_evaluation_data",
    "load_run_data",
    "load_training_data",
    "read_feedback",
    "read_run_file",
    "refused_texts_named",
    "reliability_rows",
    "tasks_table",
]
