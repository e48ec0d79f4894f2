"""When rows are worth a segment, by hand-made examples and over long lives."""

from __future__ import annotations

import random

import pytest

from simsearch.search_index.growth import Build, Stretch, next_build

EXACT_BELOW = 50_000


def flat(first, rows, dead=0):
    return Stretch(first, first + rows, rows - dead, dead=dead)


def indexed(first, rows, dead=0):
    return Stretch(first, first + rows, rows - dead, indexed=True, dead=dead)


def loose(first, rows):
    return Stretch(first, first + rows, rows, loose=True)


@pytest.mark.parametrize(
    ("stretches", "expected"),
    [
        ([], None),
        ([loose(0, 10_000)], None),  # read into memory in no time
        ([loose(0, 10_001)], Build(0, 10_001, 10_001, indexed=False)),
        ([loose(0, 50_000)], Build(0, 50_000, 50_000, indexed=False)),
        ([loose(0, 50_001)], Build(0, 50_001, 50_001, indexed=True)),
        ([flat(0, 30_000), loose(30_000, 10_000)], None),
        (
            [flat(0, 30_000), loose(30_000, 10_001)],
            Build(0, 40_001, 40_001, indexed=False),
        ),
        ([flat(0, 45_000), loose(45_000, 5_001)], Build(0, 50_001, 50_001, indexed=True)),
        # A hundredth of a million is not merged with it, nor is a twentieth that gets an index.
        (
            [indexed(0, 1_000_000), loose(1_000_000, 10_001)],
            Build(1_000_000, 1_010_001, 10_001, indexed=False),
        ),
        (
            [indexed(0, 1_000_000), flat(1_000_000, 45_000), loose(1_045_000, 10_000)],
            Build(1_000_000, 1_055_000, 55_000, indexed=True),
        ),
        # What is at most twice as large is merged, and then what is twice as large as both.
        (
            [indexed(0, 300_000), indexed(300_000, 100_000), loose(400_000, 51_000)],
            Build(0, 451_000, 451_000, indexed=True),
        ),
        (
            [indexed(0, 303_000), indexed(303_000, 100_000), loose(403_000, 51_000)],
            Build(303_000, 454_000, 151_000, indexed=True),
        ),
        # A fifth that died is left out of searches, more is left out of the file.
        ([indexed(0, 100_000, dead=20_000)], None),
        ([indexed(0, 100_000, dead=20_001)], Build(0, 100_000, 79_999, indexed=True)),
        ([flat(0, 20_000, dead=8_000)], Build(0, 20_000, 12_000, indexed=False)),
        ([flat(0, 12_000, dead=8_000)], None),  # so few are left that nothing is worth it
        # Rows whose segment was lost, in the middle.
        (
            [indexed(0, 300_000), loose(300_000, 60_000), indexed(360_000, 100_000)],
            Build(300_000, 360_000, 60_000, indexed=True),
        ),
        ([indexed(0, 60_000), Stretch(60_000, 70_000, 0, loose=True)], None),
    ],
)
def test_what_is_built_next(stretches, expected):
    assert next_build(stretches, exact_below=EXACT_BELOW) == expected


def grow(batches):
    """Add batches of rows one after another; return segments, and how many rows each build had."""
    stretches, end, builds = [], 0, []
    for size in batches:
        stretches = [*stretches, loose(end, size)]
        end += size
        while build := next_build(stretches, exact_below=EXACT_BELOW):
            kept = [each for each in stretches if each.end_row <= build.first_row]
            new = Stretch(build.first_row, build.end_row, build.rows, indexed=build.indexed)
            assert kept == [] or kept[-1].end_row == build.first_row
            stretches = [*kept, new]
            builds.append(build.rows)
    return stretches, builds


@pytest.mark.parametrize("seed", range(5))
def test_in_a_long_life_rows_are_built_few_times_and_few_are_compared(seed):
    rng = random.Random(seed)
    batches = [rng.choice([100, 1_000, 5_000, 20_000]) for _ in range(1_500)]
    stretches, builds = grow(batches)
    total = sum(batches)
    assert total > 5_000_000
    assert sum(each.living for each in stretches) == total
    assert sum(each.living for each in stretches if not each.indexed) <= EXACT_BELOW
    assert len([each for each in stretches if each.indexed]) <= 8  # halves, at least, each time
    # By each index at most log1.5 of the ratio of sizes, and by those without five times.
    assert sum(builds) / total < 18


def test_a_hundredth_that_is_added_to_a_million_rebuilds_none_of_them():
    stretches, _ = grow([1_000_000])
    assert stretches == [Stretch(0, 1_000_000, 1_000_000, indexed=True)]
    _, builds = grow([1_000_000, *[10_001] * 10])
    assert sum(builds[1:]) < 400_000
    assert max(builds[1:]) <= 110_000
