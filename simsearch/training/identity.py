"""What makes a run this run: the hash of its data, and its settings."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from simsearch.formats import Example
from simsearch.search_index import RetrievalTask
from simsearch.training.config import TrainingConfig
from simsearch.training.plan import Plan


def identity(
    plan: Plan,
    config: TrainingConfig,
    *,
    base_fingerprint: str,
    evaluation: Sequence[Example] | RetrievalTask | None = None,
) -> dict[str, Any]:
    """Return what makes a run this run, as JSON has it: one that is resumed agrees in all of it."""
    settings = json.loads(json.dumps(asdict(config)))
    for name in (
        "checkpoint_minutes",
        "augment_control",
        "task_controls",
        "match_score",
    ):  # they change nothing of the model
        del settings[name]
    parts = {str(part.name or number): part for number, part in enumerate(plan.parts, start=1)}
    data = {
        f"data {name}": hash_examples(
            [*part.training, *part.dev, *part.held_out], part.data.distractors
        )
        for name, part in parts.items()
    }
    objectives: dict[str, Any] = {
        f"objective {name}": part.objective.name for name, part in parts.items()
    }
    objectives |= {
        f"weight {name}": part.weight for name, part in parts.items() if part.weight != 1
    }
    known = {
        f"negatives {name}": hash_examples([], [json.dumps(sorted(part.negatives.items()))])
        for name, part in parts.items()
        if part.negatives
    }
    judging = {} if evaluation is None else {"evaluation": _hash_evaluation(evaluation)}
    return {**settings, **data, **objectives, **known, **judging, "encoder": base_fingerprint}


def _hash_evaluation(evaluation: Sequence[Example] | RetrievalTask) -> str:
    if not isinstance(evaluation, RetrievalTask):
        return hash_examples(evaluation)
    texts = [document.content for document in evaluation.corpus]
    asked = json.dumps([dict(evaluation.queries), evaluation.qrels], default=dict)
    return hash_examples([], [asked, *texts])


def hash_examples(examples: Sequence[Example], distractors: Sequence[str] = ()) -> str:
    """Return the SHA-256 of examples, texts and labels, and of texts beside them, in hex."""
    digest = hashlib.sha256()
    for example in examples:
        digest.update(json.dumps([type(example).__name__, *asdict(example).values()]).encode())
    for text in distractors:
        digest.update(json.dumps(text).encode())
    return digest.hexdigest()
