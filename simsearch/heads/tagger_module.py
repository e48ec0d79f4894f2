"""The tagger as torch trains it; `Tagger` is the same computation in numpy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from simsearch.encoder.runtime import FloatArray
from simsearch.heads.chain import FORBIDDEN, Chain
from simsearch.heads.chain_loss import chain_loss
from simsearch.heads.head_file import EncoderReference
from simsearch.heads.tagger import ConvolutionBlock, Tagger
from simsearch.heads.tagger_config import Layers
from simsearch.heads.tagger_inputs import TaggerInputs
from simsearch.heads.words import SHAPES, legal_transitions


class Dropout(nn.Module):
    """Dropout (Srivastava et al. 2014) whose draws are bytes: torch's take a fifth of a training.

    So the share that is left out is a multiple of 1/256. `rng` is shared, and drawn from in turn.
    """

    def __init__(self, share: float, rng: np.random.Generator) -> None:
        super().__init__()
        self._border = round(share * 256)
        self._rng = rng

    def forward(self, rows: Tensor) -> Tensor:
        """Return the rows, some numbers 0 and the others larger, so that the mean stays."""
        if not self.training or not self._border:
            return rows
        drawn = np.frombuffer(self._rng.bytes(rows.numel()), dtype=np.uint8)
        factors = (drawn >= self._border) * np.float32(256 / (256 - self._border))
        return rows * torch.from_numpy(factors).view(rows.shape)


class _Depthwise(torch.autograd.Function):
    """Each channel over neighbouring rows: torch's own takes four times as long on so few rows."""

    @staticmethod
    def forward(context: Any, rows: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Shape: (n, d), (d, k) with k odd, (d,) -> (n, d); beyond the rows are zeros."""
        taps = weight.T.contiguous()
        reach = len(taps) // 2
        padded = nn.functional.pad(rows, (0, 0, reach, reach))
        mixed = bias.expand_as(rows).clone()
        for place, tap in enumerate(taps):
            mixed.addcmul_(padded[place : place + len(rows)], tap)
        context.save_for_backward(padded, taps)
        return mixed

    @staticmethod
    def backward(context: Any, *outer: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        (gradient,) = outer
        padded, taps = context.saved_tensors
        reach, count = len(taps) // 2, len(gradient)
        rows = torch.zeros_like(padded)
        weight = torch.empty_like(taps)
        for place, tap in enumerate(taps):
            rows[place : place + count].addcmul_(gradient, tap)
            weight[place] = (gradient * padded[place : place + count]).sum(0)
        return rows[reach : reach + count], weight.T, gradient.sum(0)


class Block(nn.Module):
    """A block of depthwise-separable convolution (Chollet 2017) with a way around it."""

    def __init__(self, dim: int, *, kernel: int, dropout: Dropout) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.depthwise = nn.Conv1d(dim, dim, kernel, padding=kernel // 2, groups=dim)
        self.mix = nn.Linear(dim, dim)
        self.dropout = dropout

    def forward(self, rows: Tensor, real: Tensor) -> Tensor:
        """Shape: (n, d), and (n, 1) with 0 in gaps -> (n, d)."""
        normed = self.norm(rows) * real
        weight, bias = self.depthwise.weight.squeeze(1), self.depthwise.bias
        mixed: Tensor = _Depthwise.apply(normed, weight, bias)  # type: ignore[no-untyped-call]
        changed: Tensor = rows + self.dropout(self.mix(torch.relu(mixed)))
        return changed


class _ChainLoss(torch.autograd.Function):
    """Minus the log likelihood of tags, a mean over the words; `chain_loss` knows its gradient."""

    @staticmethod
    def forward(
        context: Any,
        scores: Tensor,
        begin: Tensor,
        follow: Tensor,
        tags: Tensor,
        lengths: Sequence[int],
    ) -> Tensor:
        found = chain_loss(
            scores.detach().numpy(),
            tags.numpy(),
            lengths,
            begin=begin.detach().numpy(),
            follow=follow.detach().numpy(),
        )
        gradients = (found.scores, found.begin, found.follow)
        context.save_for_backward(
            *(torch.from_numpy((each / len(tags)).astype(np.float32)) for each in gradients)
        )
        return scores.new_tensor(found.loss / len(tags))

    @staticmethod
    def backward(context: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        scores, begin, follow = context.saved_tensors
        return outer[0] * scores, outer[0] * begin, outer[0] * follow, None, None


class TaggerModule(nn.Module):
    """Rows of `width` numbers, as `TaggerInputs` makes them, to scores of tags; a chain over these.

    With a mixture they are those of `layers` layers side by side.
    """

    may_begin: Tensor
    may_follow: Tensor

    def __init__(
        self,
        width: int,
        *,
        layers: int,
        labels: int,
        hidden: int,
        blocks: int,
        kernel: int,
        dropout: float,
        joined: Layers,
        rng: np.random.Generator,
    ) -> None:
        super().__init__()
        tags = 1 + 2 * labels
        self.layers = layers
        mixed = joined is Layers.MIXED
        self.mixture = nn.Parameter(torch.zeros(layers)) if mixed else None
        self.project = nn.Linear(width // layers if mixed else width, hidden)
        self.shape = nn.Linear(SHAPES, hidden, bias=False)
        self.dropout = Dropout(dropout, rng)
        self.blocks = nn.ModuleList(
            Block(hidden, kernel=kernel, dropout=self.dropout) for _ in range(blocks)
        )
        self.norm = nn.LayerNorm(hidden)
        self.output = nn.Linear(hidden, tags)
        self.begin = nn.Parameter(torch.zeros(tags))
        self.follow = nn.Parameter(torch.zeros(tags, tags))
        may_begin, may_follow = legal_transitions(labels)
        self.register_buffer("may_begin", torch.from_numpy(may_begin))
        self.register_buffer("may_follow", torch.from_numpy(may_follow.copy()))

    def forward(self, inputs: Tensor, shapes: Tensor, taken: Tensor, total: int) -> Tensor:
        """Return the scores of tags. `taken` says where each word lies among rows with gaps.

        Shape: (w, width), (w, SHAPES), (w,) -> (w, tags).
        """
        if self.mixture is not None:
            shares = self.mixture.softmax(0)  # (layers,)
            inputs = torch.einsum("wlh,l->wh", inputs.view(len(inputs), self.layers, -1), shares)
        rows = torch.relu(self.project(self.dropout(inputs)) + self.shape(shapes))
        spread = rows.new_zeros(total, rows.shape[1]).index_copy(0, taken, rows)
        real = rows.new_zeros(total, 1).index_fill(0, taken, 1.0)
        for block in self.blocks:
            spread = block(spread, real)
        scores: Tensor = self.output(self.dropout(self.norm(spread[taken])))
        return scores

    def transitions(self) -> tuple[Tensor, Tensor]:
        """Return the scores of beginnings (tags,) and of neighbours (tags, tags)."""
        return (
            self.begin.masked_fill(~self.may_begin, FORBIDDEN),
            self.follow.masked_fill(~self.may_follow, FORBIDDEN),
        )

    def loss(self, scores: Tensor, tags: Tensor, lengths: Sequence[int]) -> Tensor:
        """Return minus the log likelihood of the tags, a mean over the words.

        Shape: (w, tags) and (w,) of texts one behind another -> ().
        """
        begin, follow = self.transitions()
        loss: Tensor = _ChainLoss.apply(scores, begin, follow, tags, lengths)  # type: ignore[no-untyped-call]
        return loss

    def tagger(
        self,
        encoder: EncoderReference,
        labels: Sequence[str],
        *,
        inputs: TaggerInputs,
        field: str,
    ) -> Tagger:
        """Return the same computation in numpy, of the vectors before `inputs`."""
        weight = self.project.weight.detach()
        if self.mixture is not None:
            shares = self.mixture.detach().softmax(0)
            weight = (shares[None, :, None] * weight[:, None, :]).flatten(1)
        project, bias = inputs.folded(_array(weight), _array(self.project.bias))
        begin, follow = self.transitions()
        return Tagger(
            encoder=encoder,
            labels=tuple(labels),
            project=project,
            project_bias=bias,
            shape=_array(self.shape.weight),
            blocks=tuple(_block(block) for block in self.blocks),
            norm_weight=_array(self.norm.weight),
            norm_bias=_array(self.norm.bias),
            output=_array(self.output.weight),
            output_bias=_array(self.output.bias),
            chain=Chain.of(_array(begin), _array(follow)),
            field=field,
        )


def _block(block: nn.Module) -> ConvolutionBlock:
    if not isinstance(block, Block):
        raise TypeError(f"expected a Block, got {type(block).__name__}")
    bias = block.depthwise.bias
    return ConvolutionBlock(
        norm_weight=_array(block.norm.weight),
        norm_bias=_array(block.norm.bias),
        depthwise=_array(block.depthwise.weight.squeeze(1)),
        depthwise_bias=_array(bias if bias is not None else torch.zeros(len(block.norm.weight))),
        mix=_array(block.mix.weight),
        mix_bias=_array(block.mix.bias),
    )


def _array(tensor: Tensor) -> FloatArray:
    return np.array(tensor.detach().numpy(), dtype=np.float32)
