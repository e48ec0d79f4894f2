"""One batch through the encoder and back: each distinct text once, in short batches of like length.

Padding every text of a column to the longest and embedding all of them at once is mostly padding
on a CPU, and products too large for the cache. Micro-batches of like length give the same gradients
in a quarter of the time (docs/log.md, 2026-11-22). A loss sees the embeddings of the whole batch,
so any loss over a batch works.
"""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling
from torch import Tensor, nn

from simsearch.encoder.batching import IntArray, pad, token_budget_batches
from simsearch.training.workers import Workers

# Tokens of a micro-batch, padding included. On a CPU its products stay in the cache; a GPU wants
# enough work to fill it (docs/log.md, 2026-11-22 and 2026-11-26).
_CPU_BUDGET = 1024
_GPU_BUDGET = 16384
# Share of the free memory that the graph of a batch may take until the backward pass; a larger
# batch is embedded twice instead.
_KEPT_SHARE = 0.5
# Where nobody says how much there is.
_FREE_BYTES = 8 << 30


@dataclass(frozen=True, slots=True)
class TokenizedInput:
    """What the encoder is given of one text: `ids` (t,), of which the first `prompt` tokens, if
    any, do not count for the embedding. With `words` their vectors are asked for instead of it."""

    ids: IntArray
    prompt: int = 0
    words: WordPieces | None = None

    @property
    def rows(self) -> int:
        """How many vectors the text has: one, or one for each word."""
        return 1 if self.words is None else self.words.count


@dataclass(frozen=True, slots=True)
class WordPieces:
    """Which tokens are pieces of which words: `tokens` (p,), and the `words` (p,) they belong to.

    Of `count` words the vector is the mean of the pieces.
    """

    tokens: IntArray
    words: IntArray
    count: int


class MicroBatches:
    """Embeds the texts of a batch in micro-batches of `budget` tokens, and leads gradients back.

    Of texts with words each word has a row in the place of the embedding, in order; the texts of
    a batch are all of one sort.
    Without a budget it is one that suits the model's device.

    Every micro-batch draws its dropout from a seed of its own, so a step can be repeated: after a
    kill, and where a batch is too large for its graph to be kept. Then it is embedded once without
    a graph, and once more, a micro-batch at a time, when the gradient of its embeddings is known
    (Gao et al. 2021, GradCache). Of several workers each embeds every so many micro-batches.
    """

    def __init__(
        self,
        model: SentenceTransformer,
        *,
        budget: int | None,
        pad_id: int,
        workers: Workers | None = None,
        kept_tokens: int | None = None,
    ) -> None:
        self.model = model
        on_cpu = model.device.type == "cpu"
        self.budget = budget or (_CPU_BUDGET if on_cpu else _GPU_BUDGET)
        self.pad_id = pad_id
        self.workers = workers or Workers()
        self.kept_tokens = tokens_that_fit(model) if kept_tokens is None else kept_tokens

    def embed(self, texts: Sequence[TokenizedInput]) -> Tensor:
        """Return embeddings of unit length without a gradient, (n, dim), in order."""
        with torch.inference_mode():
            parts = [(rows, self._forward(texts, rows)) for rows in self._split(texts)]
        return self._in_order(parts, texts)

    def backward(
        self,
        texts: Sequence[TokenizedInput],
        loss: Callable[[Tensor], Tensor],
        *,
        seed: int,
    ) -> float:
        """Add the gradients of a loss of all embeddings, (n, dim), to the weights; return the loss.

        A loss that is not finite is returned as it is, and leads nothing back.
        """
        batches = self._split(texts)
        own = range(self.workers.rank, len(batches), self.workers.count)
        keep = sum(len(text.ids) for text in texts) <= self.kept_tokens
        parts: list[tuple[IntArray, Tensor]] = []
        with nullcontext() if keep else torch.no_grad():
            for number in own:
                torch.manual_seed(seed + number)
                parts.append((batches[number], self._forward(texts, batches[number])))
        whole = self._in_order([(rows, part.detach()) for rows, part in parts], texts)
        embeddings = self.workers.sum(whole).requires_grad_()
        value = loss(embeddings)
        result = value.item()
        if not math.isfinite(result):
            return result
        torch.autograd.backward(value)
        gradient = embeddings.grad
        if gradient is None:  # the loss does not depend on them
            return result
        for number, (rows, part) in zip(own, parts, strict=True):
            if not keep:
                torch.manual_seed(seed + number)
                part = self._forward(texts, rows)
            if part.requires_grad:  # of an encoder that is frozen as a whole, nothing does
                places = torch.from_numpy(_places(texts, rows)).to(gradient.device)
                torch.autograd.backward(part, gradient[places])
        return result

    def _split(self, texts: Sequence[TokenizedInput]) -> list[IntArray]:
        """Return positions of texts of like length; those with and without a prompt apart."""
        batches = []
        for prompt in sorted({text.prompt for text in texts}):
            rows = np.array([row for row, text in enumerate(texts) if text.prompt == prompt])
            lengths = [len(texts[row].ids) for row in rows]
            batches += [rows[part] for part in token_budget_batches(lengths, self.budget)]
        return batches

    def _forward(self, texts: Sequence[TokenizedInput], rows: IntArray) -> Tensor:
        """Return the rows of one micro-batch, (b, dim) or (words, hidden), in float32."""
        ids = [texts[row].ids for row in rows]
        device = self.model.device
        features: dict[str, Any] = {
            "input_ids": torch.from_numpy(pad(ids, value=self.pad_id)).to(device),  # (b, t)
            "attention_mask": torch.from_numpy(pad([np.ones_like(row) for row in ids])).to(device),
            "modality": "text",
        }
        if texts[rows[0]].prompt:
            features["prompt_length"] = texts[rows[0]].prompt
        first, *others = self.model
        features = first(features)
        # What follows the transformer is computed in float32, whatever that is computed in.
        features["token_embeddings"] = features["token_embeddings"].float()
        if "all_layer_embeddings" in features:
            layers = features["all_layer_embeddings"]
            features["all_layer_embeddings"] = tuple(layer.float() for layer in layers)
        for module in others:
            if texts[rows[0]].words is not None and isinstance(module, Pooling):
                return _word_vectors(features["token_embeddings"], [texts[row] for row in rows])
            features = module(features)
        embeddings: Tensor = features["sentence_embedding"][:, : self.model.truncate_dim]
        return nn.functional.normalize(embeddings, dim=-1)

    def _in_order(
        self, parts: Iterable[tuple[IntArray, Tensor]], texts: Sequence[TokenizedInput]
    ) -> Tensor:
        """Return the rows of all texts in order, (n, width); those that are in no part are 0."""
        of_words = bool(texts) and texts[0].words is not None
        asked = self.model[0] if of_words else self.model
        width = asked.get_embedding_dimension()
        count = sum(text.rows for text in texts)
        whole = torch.zeros(count, width, device=self.model.device)
        for rows, part in parts:
            whole[torch.from_numpy(_places(texts, rows)).to(part.device)] = part
        return whole


def _places(texts: Sequence[TokenizedInput], chosen: IntArray) -> IntArray:
    """Return where the rows of some of the texts stand among the rows of all, in order."""
    sizes = np.array([text.rows for text in texts], dtype=np.int64)
    starts = np.cumsum(sizes) - sizes
    return np.concatenate([np.arange(starts[row], starts[row] + sizes[row]) for row in chosen])


def _word_vectors(tokens: Tensor, texts: Sequence[TokenizedInput]) -> Tensor:
    """Return the mean of each word's pieces, zeros where it has none.

    Shape: (b, t, hidden) -> (words of all texts, hidden).
    """
    taken, numbers, before = [], [], 0
    for row, text in enumerate(texts):
        if text.words is None:
            raise TypeError("texts with and without words do not go together")
        taken.append(row * tokens.shape[1] + text.words.tokens)
        numbers.append(before + text.words.words)
        before += text.words.count
    words = torch.from_numpy(np.concatenate(numbers)).to(tokens.device)
    pieces = tokens.flatten(0, 1)[torch.from_numpy(np.concatenate(taken)).to(tokens.device)]
    sums = tokens.new_zeros(before, tokens.shape[2]).index_add(0, words, pieces)
    counts = torch.bincount(words, minlength=before).clamp(min=1)
    return sums / counts[:, None]


def tokens_that_fit(model: SentenceTransformer) -> int:
    """Return how many tokens of a batch may keep their graph until the backward pass.

    A layer keeps 17 numbers for each unit of a token's vector, and 2.5 for each token that each
    head looks at (Korthikanti et al. 2022, section 4.1); twice that was measured here. A head is
    taken to look at a whole window.
    """
    transformer = model[0].auto_model
    config, size = transformer.config, next(transformer.parameters()).element_size()
    layers, heads = config.num_hidden_layers, config.num_attention_heads
    window = model.max_seq_length or config.max_position_embeddings
    numbers = layers * 2 * (17 * config.hidden_size + 2.5 * heads * window)
    return max(1, int(_KEPT_SHARE * free_memory(model.device) / (numbers * size)))


def free_memory(device: torch.device) -> int:
    """Return the bytes that are free on a GPU, or on the machine."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free)
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        available = next(line for line in lines if line.startswith("MemAvailable:"))
        return min(int(available.split()[1]) * 1024, _free_in_group(Path("/")))
    return _FREE_BYTES


def _free_in_group(root: Path) -> int:
    """Return what the memory limits of this process's control groups leave (cgroup v2).

    What only caches files that nobody uses is counted as free. Without a limit it is a number that
    no machine has.
    """
    free = sys.maxsize
    with contextlib.suppress(OSError, ValueError, StopIteration):
        groups = (root / "proc/self/cgroup").read_text(encoding="ascii").splitlines()
        own = next(line for line in groups if line.startswith("0::"))[3:]
        top = root / "sys/fs/cgroup"
        folder = top / own.lstrip("/")
        for group in (folder, *folder.parents):
            if group == top.parent:
                break
            with contextlib.suppress(OSError, ValueError, StopIteration):  # "max" is no limit
                limit = int((group / "memory.max").read_text(encoding="ascii"))
                used = int((group / "memory.current").read_text(encoding="ascii"))
                stated = (group / "memory.stat").read_text(encoding="ascii").splitlines()
                cache = next(line for line in stated if line.startswith("inactive_file "))
                free = min(free, max(0, limit - used) + int(cache.split()[1]))
    return free
