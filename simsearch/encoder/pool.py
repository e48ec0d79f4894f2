"""One encoder in several processes: one for each GPU, or for groups of cores."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import fields
from types import TracebackType

import numpy as np

from simsearch.encoder.batching import text_chunks
from simsearch.encoder.device import check_device
from simsearch.encoder.encoder import Encoder
from simsearch.encoder.forward_pass import EncodingCounts, Progress
from simsearch.encoder.precision import Precision
from simsearch.encoder.refusals import REFUSED, refuse_no_collection, refuse_no_text, text_length
from simsearch.encoder.runtime import FloatArray
from simsearch.encoder.stand_in import StandIn
from simsearch.encoder.threads import set_threads, thread_count
from simsearch.errors import EncoderError, InvalidInput, SimsearchError

# Texts sent to a process at once: enough to sort lengths into even batches.
_PART = 2048

# The encoder of this process, if it is one of a pool, or why it has none.
_own: Encoder | SimsearchError = EncoderError("this process is none of a pool")


class EncoderPool(StandIn):
    """An encoder whose documents are encoded by several processes. Close it after use.

    Everything else, queries too, is done here, by an encoder of this process. Work is handed out
    in order and taken back in order, with no more in flight than the processes need.
    """

    def __init__(
        self,
        name: str | os.PathLike[str] | None = None,
        *,
        devices: Sequence[str],
        precision: Precision | str | None = None,
    ) -> None:
        """Make one process for each of `devices`: `("cuda:0", "cuda:1")`, or `("cpu",) * 4`.

        They start when they are first needed. Those on the CPU share its threads out evenly.

        Raises:
            InvalidInput: there is no device, or none of that name.
            EncoderError: the encoder cannot be found, trusted or loaded.
        """
        if isinstance(devices, str):
            raise InvalidInput(f"a pool takes several devices, got one string (pass [{devices!r}])")
        if not devices:
            raise InvalidInput("a pool needs a device at least")
        for device in devices:
            check_device(device)
        others = sorted({*devices} - {"cpu"})
        if others and precision == Precision.INT8:
            raise InvalidInput(f"int8 runs on the CPU alone, not on {others[0]}")
        # Here first: an export that has to be made is made once.
        super().__init__(Encoder.load(name, precision=precision))
        context = multiprocessing.get_context("spawn")  # a fork would copy threads' locks
        waiting = context.SimpleQueue()
        for device in devices:
            waiting.put(device)
        threads = max(1, thread_count() // len(devices))
        self._processes = len(devices)
        self._executor = ProcessPoolExecutor(
            len(devices),
            mp_context=context,
            initializer=_begin,
            initargs=(None if name is None else os.fspath(name), precision, threads, waiting),
        )

    def close(self) -> None:
        """End the processes; a second call does nothing."""
        self._executor.shutdown(cancel_futures=True)

    def __enter__(self) -> EncoderPool:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def encode_documents(
        self,
        texts: Sequence[str],
        *,
        counts: EncodingCounts | None = None,
        progress: Progress | None = None,
    ) -> FloatArray:
        """Return the embeddings of documents, (n, dim), in order; errors as the encoder's."""
        parts = list(self.encode_stream(texts, counts=counts, progress=progress))
        return np.concatenate(parts) if parts else np.empty((0, self.dim), dtype=np.float32)

    def encode_stream(
        self,
        texts: Iterable[str],
        *,
        counts: EncodingCounts | None = None,
        progress: Progress | None = None,
    ) -> Iterator[FloatArray]:
        """Yield the embeddings of documents in order, some thousands at a time, (n, dim).

        Raises:
            EncoderError: a process has died, for want of memory perhaps, or cannot use its device.
        """
        refuse_no_collection(texts)
        running: deque[Future[tuple[FloatArray, EncodingCounts]]] = deque()
        done = 0
        try:
            sent = 0
            for part in itertools.chain(self._parts(texts), [None]):
                while running and (part is None or len(running) >= 2 * self._processes):
                    vectors = self._result(running.popleft(), done, counts)
                    done += len(vectors)
                    if progress is not None:
                        progress(done)
                    yield vectors
                if part is not None:
                    refuse_no_text(part, first=sent)
                    sent += len(part)
                    running.append(self._submit(part))
        except BrokenProcessPool as error:
            raise EncoderError(f"a process of the encoder pool has died: {error}") from error
        finally:
            for future in running:
                future.cancel()

    def _submit(self, part: list[str]) -> Future[tuple[FloatArray, EncodingCounts]]:
        # A process that this starts begins with interrupts held back, until `_begin` lets them in.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            return self._executor.submit(_encode, part)
        except BrokenProcessPool:
            raise
        except RuntimeError as error:
            raise InvalidInput("the pool is closed") from error
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _parts(self, texts: Iterable[str]) -> Iterator[list[str]]:
        size = _PART
        if isinstance(texts, Sequence):  # a short call is shared out evenly
            size = min(size, max(1, -(-len(texts) // self._processes)))
        return text_chunks(texts, text_length, most=size)

    @staticmethod
    def _result(
        future: Future[tuple[FloatArray, EncodingCounts]],
        before: int,
        counts: EncodingCounts | None,
    ) -> FloatArray:
        try:
            vectors, seen = future.result()
        except REFUSED as error:
            raise error.at(before + error.position) from error
        if counts is not None:
            for field in fields(EncodingCounts):
                setattr(counts, field.name, getattr(counts, field.name) + getattr(seen, field.name))
        return vectors


def _begin(
    name: str | None,
    precision: Precision | str | None,
    threads: int,
    waiting: multiprocessing.SimpleQueue[str],
) -> None:
    """Load the encoder of a new process, on the next device that has none."""
    global _own
    # An interrupt from the terminal comes to every process; this one just ends, unless the first
    # one was started to ignore it.
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(target=_end_with_parent, daemon=True).start()
    device = waiting.get()
    set_threads(threads)
    try:
        _own = Encoder.load(name, precision=precision, device=device)
    except SimsearchError as error:  # raised from here it would be lost
        _own = error


def _end_with_parent() -> None:
    """Leave no process behind when the first one is killed: nothing else would end this one."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _encode(texts: list[str]) -> tuple[FloatArray, EncodingCounts]:
    if isinstance(_own, SimsearchError):
        raise _own
    counts = EncodingCounts()
    return _own.encode_documents(texts, counts=counts), counts
