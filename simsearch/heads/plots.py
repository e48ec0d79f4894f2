"""The confusion matrix as a picture. matplotlib is imported when one is drawn."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

logger = logging.getLogger("simsearch")

_WRITTEN = 25  # classes up to which the counts are written into the cells


def draw_confusion_matrix(
    path: Path, labels: Sequence[str], confusion: npt.NDArray[np.int64]
) -> None:
    """Draw how often each class (row) was taken for each (column); shades are shares of a row.

    `confusion` is (classes, classes + 1); its last column, what was rejected, is drawn if there
    is any.
    """
    # The object interface: pyplot would keep state, and choose a backend that needs a screen.
    from matplotlib.figure import Figure

    columns = list(labels)
    if confusion[:, -1].any():
        columns.append("(rejected)")
    counts = confusion[:, : len(columns)]
    shares = counts / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    size = max(4.0, 0.28 * len(columns) + 2)
    figure = Figure(figsize=(size + 1, size), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    font = max(4.0, min(9.0, 300 / len(columns)))
    names = [name if len(name) <= 30 else name[:29] + "…" for name in columns]
    # A dollar sign would begin a formula.
    names = [name.replace("$", r"\$") for name in names]
    axes.set_xticks(range(len(columns)), names, rotation=90, fontsize=font)
    axes.set_yticks(range(len(labels)), names[: len(labels)], fontsize=font)
    axes.set(xlabel="predicted", ylabel="right")
    if len(columns) <= _WRITTEN:
        for row, column in np.argwhere(counts).tolist():
            shade = "white" if shares[row, column] > 0.5 else "black"
            text = str(counts[row, column])
            axes.text(column, row, text, ha="center", va="center", color=shade, fontsize=font)
    figure.colorbar(image, label="share of the class")
    with warnings.catch_warnings(record=True) as raised:
        warnings.simplefilter("always")
        figure.savefig(path, dpi=110)
    if any("missing from font" in str(each.message) for each in raised):
        logger.warning("%s: labels have characters that the font does not have", path.name)
