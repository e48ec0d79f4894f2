from __future__ import annotations

import pytest
from matplotlib.figure import Figure

from simsearch.evaluation import Difference
from simsearch.training import before_after_table
from simsearch.training.report import draw_curves, markdown_table, running_mean


def test_the_running_mean_of_a_constant_is_the_constant():
    assert running_mean([3.0, 3.0, 3.0]) == pytest.approx([3.0, 3.0, 3.0])


def test_the_running_mean_weighs_the_latest_most():
    # (0.1 * 4 + 0.09 * 1) / (1 - 0.81) = 0.49 / 0.19
    assert running_mean([1.0, 4.0]) == pytest.approx([1.0, 0.49 / 0.19])
    assert running_mean([]) == []


def test_the_table_shows_signs_and_the_interval():
    rows = before_after_table(
        {"map": 0.5}, {"map": 0.4}, {"map": Difference(-0.1, -0.2, 0.01, 0.04)}
    )
    assert rows == [("map", "0.5000", "0.4000", "-0.1000", "-0.2000 .. +0.0100", "0.0400")]


def test_a_markdown_table_has_a_header_line():
    assert markdown_table(("a", "b"), [("1", "2")]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"


def test_curves_are_drawn_for_a_run_of_one_step(tmp_path):
    log = [{"step": 1, "loss": 0.5, "learning_rate": 1e-5}]
    sides = {
        "before": {"spearman": -0.2},
        "after": {"spearman": 0.3},
        "difference": {"spearman": 1},
    }
    draw_curves(tmp_path / "curves.png", log=log, result=sides)
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


@pytest.fixture
def drawn(monkeypatch):
    """The figures that were drawn, as they were saved."""
    figures = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, path, **options: figures.append(figure))
    return figures


@pytest.mark.parametrize("without", [{}, {"map": 0.95, "spearman": 1.0}])
def test_the_legend_covers_no_bar_and_no_figure(drawn, tmp_path, without):
    log = [{"step": step, "loss": 0.5, "learning_rate": 1e-5} for step in (1, 2)]
    full = {"map": 1.0, "spearman": 0.999}
    result = {"before": {**full, "spearman": -1.0}, "after": full, "difference": full}
    result["augmentation"] = {"without": without}
    draw_curves(tmp_path / "curves.png", log=log, result=result)
    (figure,) = drawn
    figure.draw_without_rendering()
    axes = figure.axes[1]
    covered = axes.get_legend().get_window_extent()
    assert not covered.overlaps(axes.get_window_extent())
    assert [text.get_text() for text in axes.get_legend().texts] == [
        "before",
        *(["without augmentation"] if without else []),
        "after",
    ]
    figures = [text.get_window_extent() for text in axes.texts]
    assert len(figures) == 2 * (3 if without else 2)
    assert [each for each in figures if each.overlaps(covered)] == []
    inside = axes.get_window_extent()
    assert [each for each in figures if each.x0 < inside.x0 or each.x1 > inside.x1] == []
    bars = [bar.get_window_extent() for bar in axes.patches]
    assert [(a, b) for a in figures for b in bars if a.overlaps(b)] == []


def test_a_bar_in_a_cell_begins_no_other_one():
    table = markdown_table(("name", "formula"), [("softmax", "[u; v; |u - v|]")])
    assert table.splitlines()[-1] == r"| softmax | [u; v; \|u - v\|] |"
