"""What the command line says for itself, so that --help is quick, is what the library says."""

from __future__ import annotations

import inspect
from dataclasses import fields
from enum import StrEnum

import pytest

from simsearch import encoder, formats, heads, query, search_index
from simsearch.cli import options
from simsearch.cli.training_options import make_training
from simsearch.search_index import checks
from simsearch.training import TrainingConfig


@pytest.mark.parametrize(
    ("own", "library"),
    [
        (options.ClassWeight, heads.ClassWeight),
        (options.DuplicateIds, formats.Duplicates),
        (options.LongTexts, search_index.LongTexts),
        (options.Rerank, search_index.Rerank),
        (options.SearchMode, query.SearchMode),
    ],
)
def test_an_option_takes_the_values_that_the_library_knows(
    own: type[StrEnum], library: type[StrEnum]
) -> None:
    assert sorted(own) == sorted(library)


def test_documents_are_encoded_in_the_numbers_that_the_library_knows_or_are_chosen() -> None:
    assert sorted(options.Precision) == sorted([*encoder.Precision, "auto"])


def test_a_tagger_takes_every_way_to_join_layers() -> None:
    taken = [heads.TaggerConfig(layers=way).layers for way in options.HeadLayers]
    assert taken == ["concatenated", "mixed"]


def test_an_option_takes_as_many_hits_as_a_search() -> None:
    assert options.MAX_K == checks.MAX_K


def test_every_training_option_is_a_setting_of_a_run() -> None:
    settings = {field.name for field in fields(TrainingConfig)}
    assert inspect.signature(make_training).parameters.keys() - settings == set()


def test_only_the_training_options_that_are_given_are_settings() -> None:
    assert make_training() == {}
    given = make_training(augment=["swap", "crop"], freeze=False, negatives=0)
    assert given == {"augment": ("swap", "crop"), "freeze": False, "negatives": 0}
