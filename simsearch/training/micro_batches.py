"""How a loss obtains its embeddings: each distinct text once, in short batches of like length.

A step of the library pads every text of a column to the longest and embeds all of them at once.
On a CPU most of that is padding, and products too large for the cache: embedding the batch in
length-sorted micro-batches gives the same gradients in a quarter of the time (docs/log.md,
2026-11-22). The graph of all micro-batches is kept, so that any loss over the batch works.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from simsearch.encoder.batching import token_budget_batches
from simsearch.errors import EncoderError


class MicroBatchedLoss(nn.Module):
    """A loss of the library, with embeddings obtained in micro-batches of `budget` tokens.

    With `dim` it is the loss of the embeddings as they are used: cut to it, of unit length again.
    """

    def __init__(
        self, model: nn.Module, loss: Any, *, budget: int, pad_id: int, dim: int | None = None
    ) -> None:
        super().__init__()
        self.model = model
        self.loss = loss
        self.budget = budget
        self.pad_id = pad_id
        self.dim = dim

    def forward(self, sentence_features: Iterable[Mapping[str, Any]], labels: Tensor) -> Tensor:
        """Return the loss of one batch; the features are those of the library's collator."""
        columns = list(sentence_features)
        embeddings = embed_columns(self.model, columns, budget=self.budget, pad_id=self.pad_id)
        if self.dim is not None:
            embeddings = [nn.functional.normalize(rows[:, : self.dim]) for rows in embeddings]
        value: Tensor = self.loss.compute_loss_from_embeddings(embeddings, labels)
        if not torch.isfinite(value):
            raise EncoderError("the loss is not finite; training stopped (lower --learning-rate)")
        return value


def embed_columns(
    model: nn.Module, columns: list[Mapping[str, Any]], *, budget: int, pad_id: int
) -> list[Tensor]:
    """Return one tensor of sentence embeddings (b, dim) per column of padded features.

    Equal rows, in one column or several, are embedded once.
    """
    # By the length of the prompt, which some models leave out of pooling: texts, and embeddings.
    groups: dict[int, dict[bytes, Tensor]] = {}
    keys: list[tuple[int, list[bytes]]] = []
    for column in columns:
        prompt = _prompt_length(column)
        rows = _unpadded(column)
        names = [row.numpy(force=True).tobytes() for row in rows]
        groups.setdefault(prompt, {}).update(zip(names, rows, strict=True))
        keys.append((prompt, names))
    embeddings = {
        prompt: _embed(model, list(texts.values()), budget, pad_id, prompt)  # (distinct, dim)
        for prompt, texts in groups.items()
    }
    position = {
        prompt: {name: number for number, name in enumerate(texts)}
        for prompt, texts in groups.items()
    }
    return [
        embeddings[prompt][[position[prompt][name] for name in names]] for prompt, names in keys
    ]


def _prompt_length(column: Mapping[str, Any]) -> int:
    length = column.get("prompt_length", 0)
    return int(length.flatten()[0]) if isinstance(length, Tensor) else int(length)


def _unpadded(column: Mapping[str, Any]) -> list[Tensor]:
    ids, mask = column["input_ids"], column["attention_mask"].bool()  # (b, t)
    return [row[keep] for row, keep in zip(ids, mask, strict=True)]


def _embed(
    model: nn.Module, texts: list[Tensor], budget: int, pad_id: int, prompt_length: int
) -> Tensor:
    order: list[int] = []
    parts: list[Tensor] = []
    for batch in token_budget_batches([len(text) for text in texts], budget):
        rows = [texts[position] for position in batch]
        ids = nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=pad_id)  # (b, t)
        mask = nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
        features = {"input_ids": ids, "attention_mask": mask, "modality": "text"}
        if prompt_length:
            features["prompt_length"] = prompt_length
        parts.append(model(features)["sentence_embedding"])  # (b, dim)
        order.extend(batch.tolist())
    inverse = torch.empty(len(order), dtype=torch.int64)
    inverse[torch.tensor(order)] = torch.arange(len(order))
    return torch.cat(parts)[inverse.to(parts[0].device)]
