"""Several processes that train one encoder: started by torchrun, one for each GPU or socket."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed
from torch import Tensor

from simsearch.errors import SystemFailure

# How long a process waits for another. The first one mines and scores alone, which may take hours;
# one that has died is noticed at once, by its connection.
_PATIENCE = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Workers:
    """Which of how many processes this is; alone, all of this does nothing.

    A batch is shared: each process embeds a part of its texts, and all of them compute the loss of
    the whole. So the result is that of one process, whatever the loss is.

    Every method raises SystemFailure when another process is gone.
    """

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the one that scores, talks and writes."""
        return self.rank == 0

    def sum(self, tensor: Tensor) -> Tensor:
        """Return the sum of a tensor over all processes."""
        if self.count > 1:
            with _translated_errors():
                torch.distributed.all_reduce(tensor)
        return tensor

    def sum_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Add up the gradients of all processes, each of which has those of its own texts.

        A process that embedded no text of a batch has none; it takes part with zeros.
        """
        if self.count == 1:
            return
        for parameter in parameters:
            if parameter.requires_grad:
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                self.sum(parameter.grad)

    def agree(self, flag: bool) -> bool:
        """Return what the first process says."""
        if self.count == 1:
            return flag
        told = torch.tensor([int(flag)])
        with _translated_errors():
            torch.distributed.broadcast(told, src=0)
        return bool(told.item())

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.count > 1:
            with _translated_errors():
                torch.distributed.barrier()


@contextlib.contextmanager
def _translated_errors() -> Iterator[None]:
    """Turn what torch raises when another process is gone into one line."""
    try:
        yield
    except RuntimeError as error:
        raise SystemFailure(
            "another process of this run has ended (its own message tells why)"
        ) from error


def gpu() -> str | None:
    """Return the GPU that this process scores on; None if torch can use none.

    Of the processes that torchrun started the first one scores.
    """
    return "cuda:0" if torch.cuda.is_available() else None


def is_first_worker() -> bool:
    """Whether this process is the one that talks: the first that torchrun started, or alone."""
    return not torch.distributed.is_torchelastic_launched() or os.environ.get("RANK", "0") == "0"


@contextlib.contextmanager
def joined_workers() -> Iterator[Workers]:
    """Join the processes that torchrun started, if it did.

    Raises:
        SystemFailure: they cannot be joined.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1 or not torch.distributed.is_torchelastic_launched():
        yield Workers()
        return
    with _translated_errors():
        torch.distributed.init_process_group("gloo", timeout=_PATIENCE)
    try:
        yield Workers(torch.distributed.get_rank(), count)
    finally:
        torch.distributed.destroy_process_group()
