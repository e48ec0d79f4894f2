"""What a run leaves on disk while it goes on, so that it can go on after a kill.

    MODEL_DIR.training/
      plan.json                 what is being trained, to which a resumed run has to agree
      negatives-<epoch>.json    hard negatives as they were mined
      best-<step>.safetensors   the weights that were best on the dev part
      step-<step>/              the last checkpoint: weights, optimiser, and state.json
      control/                  the last three of the run without augmentation, if there is one

`state.json` is written last and holds the SHA-256 of the files that it speaks of, and its own: a
checkpoint without it, or with another file than it says, is not whole and is passed over. Nothing
here is a pickle. No random state is kept: every step draws from a seed of its own.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from simsearch.cache import hash_file
from simsearch.encoder.tensors import read_tensors, write_tensors
from simsearch.errors import EncoderError
from simsearch.files import (
    replace_text,
    sync_directory,
    sync_file,
    sync_tree,
    translated_os_errors,
)
from simsearch.training.optimization import Weights

STATE = "state.json"
_WEIGHTS = "weights.safetensors"
_OPTIMIZER = "optimizer.safetensors"


@dataclass(frozen=True, slots=True)
class Best:
    """The weights that scored best on the dev part so far, and when that was."""

    step: int
    score: float
    file: str
    sha256: str


@dataclass(frozen=True, slots=True)
class TrainingState:
    """How far a run is: optimiser steps done, the log, dev scores by epoch, the best weights."""

    step: int
    log: Sequence[Mapping[str, float]]
    dev: Sequence[Mapping[str, float]]
    best: Best | None


class Checkpoints:
    """The checkpoints in the working directory of one run, of which the last whole one is kept.

    `passed_over` are those that the last `read` found not to be whole, latest first.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.passed_over: list[Path] = []

    def write(self, state: TrainingState, weights: Weights, optimizer: Optimizer) -> None:
        """Write a checkpoint, then delete what it makes obsolete."""
        folder = self.directory / f"step-{state.step:08d}"
        with translated_os_errors(folder):
            shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed writing it
            folder.mkdir(mode=0o700)
            write_tensors(folder / _WEIGHTS, _arrays(weights.state()))
            write_tensors(folder / _OPTIMIZER, _arrays(_moments(weights, optimizer)))
            files = {name: hash_file(folder / name) for name in (_WEIGHTS, _OPTIMIZER)}
            sync_tree(folder)
            content = {**asdict(state), "files": files}
            content["sha256"] = _hash_content(content)
            replace_text(folder / STATE, json.dumps(content) + "\n")
            self._delete_all_but(folder, state.best)

    def write_best(self, step: int, score: float, weights: Weights) -> Best:
        """Write the weights as the best so far; the checkpoint that names them comes after."""
        path = self.directory / f"best-{step:08d}.safetensors"
        write_tensors(path, _arrays(weights.state()))
        with translated_os_errors(path):
            # Before a checkpoint that names them makes those that were best until now obsolete.
            sync_file(path)
            sync_directory(self.directory)
        return Best(step, score, path.name, hash_file(path))

    def read(self, weights: Weights, optimizer: Optimizer) -> TrainingState | None:
        """Load the last whole checkpoint; None where there is none."""
        self.passed_over = []
        for folder in sorted(self.directory.glob("step-*"), reverse=True):
            state = self._whole(folder)
            if state is not None:
                weights.load(_tensors(folder / _WEIGHTS))
                _load_moments(weights, optimizer, _tensors(folder / _OPTIMIZER))
                return state
            self.passed_over.append(folder)
        return None

    def load_best(self, best: Best, weights: Weights) -> None:
        """Give the weights of the best step back, all of them.

        Raises:
            EncoderError: their file is missing or damaged.
        """
        path = self.directory / best.file
        try:
            intact = hash_file(path) == best.sha256
        except FileNotFoundError:
            intact = False
        if not intact:
            raise EncoderError(
                f"{path} is missing or damaged: its SHA-256 is not {best.sha256[:12]} any more "
                "(begin anew: --replace)"
            )
        weights.load(_tensors(path))

    def _whole(self, folder: Path) -> TrainingState | None:
        try:
            content = json.loads((folder / STATE).read_text(encoding="utf-8"))
            if content.pop("sha256") != _hash_content(content):
                return None
            files = content.pop("files")
            found = content.pop("best")
            best = None if found is None else Best(**found)
            state = TrainingState(**content, best=best)
            if best is not None:
                files = {**files, f"../{best.file}": best.sha256}
            intact = all(hash_file(folder / name) == sha256 for name, sha256 in files.items())
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
        return state if intact else None

    def _delete_all_but(self, folder: Path, best: Best | None) -> None:
        for entry in self.directory.iterdir():
            if entry.name.startswith("step-") and entry != folder:
                shutil.rmtree(entry, ignore_errors=True)
            if entry.name.startswith("best-") and (best is None or entry.name != best.file):
                with contextlib.suppress(OSError):
                    entry.unlink()


def _hash_content(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _moments(weights: Weights, optimizer: Optimizer) -> dict[str, Tensor]:
    """Return what the optimiser remembers of each weight, named weight:what."""
    return {
        f"{name}:{key}": torch.as_tensor(value)
        for name, weight in weights
        for key, value in optimizer.state.get(weight, {}).items()
        if value is not None
    }


def _load_moments(weights: Weights, optimizer: Optimizer, moments: Mapping[str, Tensor]) -> None:
    optimizer.state.clear()
    by_name = dict(weights)
    for key, tensor in moments.items():
        name, _, what = key.rpartition(":")
        weight = by_name[name]
        # The count of steps stays where and as the optimiser had it: a bare number, on the CPU,
        # which the file holds as a row of one.
        placed = tensor.reshape(()) if what == "step" else tensor.to(weight.device)
        optimizer.state[weight][what] = placed


def _arrays(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    return {name: tensor.numpy(force=True) for name, tensor in tensors.items()}


def _tensors(path: Path) -> dict[str, Tensor]:
    return {name: torch.from_numpy(array) for name, array in read_tensors(path).items()}
