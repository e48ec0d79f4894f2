"""A map as a PNG. matplotlib is imported when one is drawn."""

from __future__ import annotations

import io
import warnings
from typing import Any, Final

from simsearch.corpus.colouring import GREY, PALETTE, RAMP, Groups, Scale
from simsearch.corpus.map import CorpusMap
from simsearch.wording import counted

_LONGEST: Final = 40  # characters of a name in the legend


def picture_of(corpus_map: CorpusMap) -> bytes:
    """Return the map as the bytes of a PNG, 1,200 pixels high."""
    # The object interface: pyplot would keep state, and choose a backend that needs a screen.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.5, 8), layout="constrained")
    axes = figure.subplots()
    size = max(2.0, min(30.0, 40_000 / len(corpus_map)))
    if isinstance(corpus_map.colouring, Groups):
        _draw_groups(figure, axes, corpus_map, corpus_map.colouring, size)
    else:
        _draw_scale(figure, axes, corpus_map, corpus_map.colouring, size)
    axes.set(aspect="equal", xticks=[], yticks=[], xlim=(-1.05, 1.05), ylim=(-1.05, 1.05))
    some = "" if len(corpus_map) == corpus_map.documents else f"{len(corpus_map):,} of "
    how = f"{some}{counted(corpus_map.documents, 'document')}, {corpus_map.method.upper()}"
    axes.spines[:].set_color("#dfe2e8")
    axes.set_title(f"{_plain(corpus_map.title)}: {how}")
    picture = io.BytesIO()
    with warnings.catch_warnings():
        # A script that the font lacks is drawn as boxes; the page has no such limit.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(picture, format="png", dpi=150)
    return picture.getvalue()


def _draw_groups(
    figure: Any, axes: Any, corpus_map: CorpusMap, groups: Groups, size: float
) -> None:
    for number, name in enumerate(groups.names):
        its = corpus_map.places[groups.members == number]
        colour = PALETTE[number] if number < groups.coloured else GREY
        label = f"{_plain(name)} ({len(its):,})"
        axes.scatter(its[:, 0], its[:, 1], s=size, color=colour, alpha=0.7, lw=0, label=label)
    figure.legend(
        title=_plain(groups.title), loc="outside right upper", markerscale=2, frameon=False,
        fontsize=8,
    )  # fmt: skip


def _draw_scale(figure: Any, axes: Any, corpus_map: CorpusMap, scale: Scale, size: float) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    colours = LinearSegmentedColormap.from_list("ramp", RAMP).with_extremes(bad=GREY)
    drawn = axes.scatter(
        *corpus_map.places.T, c=scale.values, cmap=colours, vmin=scale.low, vmax=scale.high,
        s=size, alpha=0.7, lw=0, plotnonfinite=True,
    )  # fmt: skip
    figure.colorbar(drawn, label=_plain(scale.title), shrink=0.6)


def _plain(text: str) -> str:
    """Return a text that matplotlib draws as it is: a dollar sign would begin a formula."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    cut = line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"
    return cut.replace("$", r"\$")
