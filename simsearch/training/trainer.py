"""The training itself: the library's trainer, with our loss and our log."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset
from datasets import disable_progress_bars as disable_dataset_progress_bars
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.sentence_transformer.modules import (
    Dense,
    Normalize,
    Pooling,
    Transformer,
)
from transformers import PrinterCallback, TrainerCallback

from simsearch.encoder import modules as encoder_modules
from simsearch.encoder.layout import Layout
from simsearch.encoder.torch_runtime import activation_module, load_linear, quiet_transformers
from simsearch.errors import EncoderError, SystemFailure
from simsearch.formats import Example
from simsearch.training.config import TrainingConfig
from simsearch.training.micro_batches import MicroBatchedLoss
from simsearch.training.objectives import Objective

# Called after each optimiser step with (steps done, steps in all).
StepProgress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Resolved:
    """The numbers of a run after the defaults of its objective were filled in."""

    epochs: int
    batch_size: int
    learning_rate: float


def resolve(config: TrainingConfig, objective: Objective) -> Resolved:
    """Fill what the configuration leaves open from the objective's defaults."""
    return Resolved(
        epochs=config.epochs or objective.epochs,
        batch_size=config.batch_size or objective.batch_size,
        learning_rate=config.learning_rate or objective.learning_rate,
    )


_TEXT_ONLY = {"text": {"method": "forward", "method_output_name": "last_hidden_state"}}


def load_trainable(layout: Layout) -> SentenceTransformer:
    """Return the encoder as a sentence-transformers model, built module by module.

    The library's own loader would follow dotted names in the directory's modules.json
    (CVE-2026-68770); here nothing but weights, tokenizer and checked settings is taken from it.
    """
    safe = {"trust_remote_code": False, "local_files_only": True}
    try:
        with quiet_transformers():
            transformer = Transformer(
                str(layout.transformer),
                max_seq_length=layout.max_length,
                do_lower_case=layout.lower_case,
                # Plain texts: a tokenizer with a chat template would otherwise put each into it.
                modality_config=_TEXT_ONLY,
                module_output_name="token_embeddings",
                model_kwargs={"use_safetensors": True, **safe},
                processor_kwargs=safe,
                config_kwargs=safe,
            )
    except Exception as error:  # safetensors, transformers and torch each raise their own
        raise EncoderError(f"{layout.transformer}: {error}") from error
    _prepare_tokenizer(transformer.tokenizer)
    modes = [str(mode) for mode in layout.pooling]
    pooling = Pooling(layout.hidden, modes, include_prompt=layout.include_prompt)
    modules = [transformer, pooling]
    modules += [
        _dense(module) if isinstance(module, encoder_modules.Dense) else Normalize()
        for module in layout.projections
    ]
    if not isinstance(modules[-1], Normalize):
        modules.append(Normalize())
    prompts = {"query": layout.query_prompt, "document": layout.document_prompt}
    dim = None if layout.dim == layout.full_dim else layout.dim
    return SentenceTransformer(modules=modules, prompts=prompts, truncate_dim=dim)


def _prepare_tokenizer(tokenizer: Any) -> None:
    """Let the tokenizer pad as we do: on the right, where padding moves no position.

    GPT-2 and its kin have no padding token; any will do, for it is masked.
    """
    tokenizer.padding_side = "right"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token


def _dense(module: encoder_modules.Dense) -> Dense:
    linear = load_linear(module)
    return Dense(
        module.in_features,
        module.out_features,
        bias=module.bias,
        activation_function=activation_module(module.activation),
        init_weight=linear.weight.data,
        init_bias=linear.bias.data if module.bias else None,
    )


def train(
    model: SentenceTransformer,
    layout: Layout,
    examples: Sequence[Example],
    *,
    objective: Objective,
    config: TrainingConfig,
    progress: StepProgress | None = None,
) -> list[dict[str, float]]:
    """Train `model` in place and return the log: one record per optimiser step.

    Raises:
        EncoderError: the loss became NaN or infinite.
    """
    numbers = resolve(config, objective)
    loss = MicroBatchedLoss(
        model,
        objective.make_loss(model),
        dim=model.truncate_dim,
        budget=config.micro_batch_tokens,
        pad_id=layout.pad_id,
    )
    log = _Log(progress)
    with tempfile.TemporaryDirectory(prefix="simsearch-") as scratch, quiet_transformers():
        disable_dataset_progress_bars()
        trainer = _Trainer(
            model=model,
            args=SentenceTransformerTrainingArguments(
                output_dir=scratch,
                num_train_epochs=numbers.epochs,
                per_device_train_batch_size=numbers.batch_size,
                learning_rate=numbers.learning_rate,
                lr_scheduler_type="cosine",
                warmup_steps=config.warmup,
                batch_sampler=objective.sampler,
                prompts=_prompts(layout, examples[0]),
                seed=config.seed,
                data_seed=config.seed,
                logging_strategy="steps",
                logging_steps=1,
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
                # Pinned memory only helps a GPU, and warns without one.
                dataloader_pin_memory=model.device.type == "cuda",
            ),
            train_dataset=_dataset(examples),
            loss=loss,
            callbacks=[log],
        )
        # With its progress bar off, the trainer prints every log record to stdout instead.
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return log.records


def steps_of(examples: int, numbers: Resolved) -> int:
    """Return the number of optimiser steps of a run."""
    return numbers.epochs * math.ceil(examples / numbers.batch_size)


def save_model(model: SentenceTransformer, directory: Path, *, lower_case: bool) -> None:
    """Write the model as a plain sentence-transformers directory, weights as safetensors."""
    try:
        with quiet_transformers():
            model.save_pretrained(str(directory), create_model_card=False, safe_serialization=True)
        if lower_case:
            # The library reads the setting, and forgets to write it.
            path = directory / model[0].config_file_name
            content = {**json.loads(path.read_text(encoding="utf-8")), "do_lower_case": True}
            path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    except Exception as error:  # a full disk is an OSError or an error of safetensors
        raise SystemFailure(f"{directory}: {error}") from error


class _Trainer(SentenceTransformerTrainer):  # type: ignore[misc]  # the library is untyped
    """The library's trainer without its model card, which would embed examples to show them."""

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """Leave it out: the run's report is the model card."""


class _Log(TrainerCallback):  # type: ignore[misc]  # transformers is untyped
    """Collects the trainer's log records and reports the steps."""

    def __init__(self, progress: StepProgress | None) -> None:
        self.records: list[dict[str, float]] = []
        self._progress = progress

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        if logs and "loss" in logs:
            names = ("loss", "grad_norm", "learning_rate", "epoch")
            values = {name: float(logs[name]) for name in names if name in logs}
            self.records.append({"step": state.global_step, **values})

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self._progress is not None:
            self._progress(state.global_step, state.max_steps)


def _dataset(examples: Sequence[Example]) -> Dataset:
    columns: dict[str, list[Any]] = {}
    for example in examples:
        for name, value in asdict(example).items():
            columns.setdefault(name, []).append(value)
    return Dataset.from_dict(columns)


def _prompts(layout: Layout, example: Example) -> dict[str, str] | None:
    if not (layout.query_prompt or layout.document_prompt):
        return None
    texts = [name for name in asdict(example) if name not in ("label", "score")]
    return {
        name: layout.query_prompt if name == "anchor" else layout.document_prompt for name in texts
    }
