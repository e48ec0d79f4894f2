"""What a run has held out, made again: the same, or a refusal."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from training_runs import make_pairs

from simsearch.errors import InvalidData, InvalidInput, NotFound
from simsearch.training import (
    DataSource,
    RunSettings,
    TrainingConfig,
    held_out_of_run,
    is_run,
    load_evaluation_data,
    load_training_data,
)
from simsearch.training import sources as sources_module
from simsearch.training.identity import identity
from simsearch.training.plan import make_plan
from simsearch.training.resolve import resolved_config
from simsearch.training.run_file import write_run_file

PAIRS = make_pairs(60)


def write_pairs(path: Path, pairs) -> Path:
    path.write_text("".join(json.dumps(asdict(pair)) + "\n" for pair in pairs))
    return path


def past_run(
    model: Path,
    source: Path,
    *,
    evaluation: Path | None = None,
    encoder: str | None = None,
    **options,
):
    """Write the run folder of a run over pairs, and return what the run held out."""
    config = TrainingConfig(seed=3, **options)
    sets = load_training_data([DataSource(source)])
    known = None if evaluation is None else load_evaluation_data(evaluation)
    plan = make_plan(sets, known, config)
    (model / "run").mkdir(parents=True)
    settings = RunSettings(
        (DataSource(source),),
        encoder,
        evaluation,
        "test",
        resolved_config(config, plan.numbers, [part.objective for part in plan.parts]),
    )
    write_run_file(model / "run" / "config.toml", settings)
    named = identity(plan, config, base_fingerprint="abc", evaluation=known)
    (model / "run" / "provenance.json").write_text(json.dumps({**named, "reading": {}}))
    return [example for part in plan.parts for example in part.held_out]


@pytest.mark.parametrize("options", [{}, {"held_out": 0.4}, {"augment": ("deletion",)}])
def test_the_held_out_pairs_are_those_of_the_run(tmp_path, options):
    held_out = past_run(tmp_path / "m", write_pairs(tmp_path / "p.jsonl", PAIRS), **options)
    assert held_out_of_run(tmp_path / "m") == held_out
    assert held_out_of_run(tmp_path / "m" / "run") == held_out
    assert set(held_out) < set(PAIRS)


def test_evaluation_data_of_its_own_is_what_was_held_out(tmp_path):
    source = write_pairs(tmp_path / "p.jsonl", PAIRS)
    own = write_pairs(tmp_path / "eval.jsonl", make_pairs(12, seed=9))
    assert past_run(tmp_path / "m", source, evaluation=own) == []
    assert held_out_of_run(tmp_path / "m") == make_pairs(12, seed=9)
    write_pairs(own, make_pairs(13, seed=9))
    with pytest.raises(InvalidData, match=r"has changed since.*\(evaluation"):
        held_out_of_run(tmp_path / "m")


def test_data_that_has_changed_says_nothing_of_what_was_held_out(tmp_path):
    source = write_pairs(tmp_path / "p.jsonl", PAIRS)
    past_run(tmp_path / "m", source)
    write_pairs(source, PAIRS[:-1])
    with pytest.raises(InvalidData, match="was made of has changed since"):
        held_out_of_run(tmp_path / "m")
    source.unlink()
    with pytest.raises(NotFound, match=r"p\.jsonl"):
        held_out_of_run(tmp_path / "m")


def test_rows_that_the_encoder_of_the_run_does_not_read_are_left_out_again(tmp_path, monkeypatch):
    source = write_pairs(tmp_path / "p.jsonl", PAIRS)
    held_out = past_run(tmp_path / "m", source, encoder="models/mine")
    asked = []

    def reading(encoder):
        asked.append(encoder)
        return lambda text: "unread" not in text

    monkeypatch.setattr(sources_module, "reading_of", reading)
    with source.open("a") as file:
        file.write('{"anchor": "unread", "positive": "b c"}\n')
    assert held_out_of_run(tmp_path / "m") == held_out
    assert asked == ["models/mine"]


@pytest.mark.parametrize("content", ["{", "[]", '{"reading": {"no_such_option": 1}}'])
def test_provenance_that_is_damaged_is_refused_by_its_name(tmp_path, content):
    past_run(tmp_path / "m", write_pairs(tmp_path / "p.jsonl", PAIRS))
    provenance = tmp_path / "m" / "run" / "provenance.json"
    provenance.write_text(content)
    with pytest.raises(InvalidData, match=r"provenance\.json is damaged.*name a file of pairs"):
        held_out_of_run(tmp_path / "m")
    provenance.unlink()
    with pytest.raises(NotFound, match=r"provenance\.json is missing"):
        held_out_of_run(tmp_path / "m")


def test_what_came_through_a_pipe_cannot_be_read_again(tmp_path):
    past_run(tmp_path / "m", write_pairs(tmp_path / "p.jsonl", PAIRS))
    piped = RunSettings((DataSource(Path("-")),), None, None, "test", TrainingConfig())
    write_run_file(tmp_path / "m" / "run" / "config.toml", piped)
    with pytest.raises(InvalidInput, match="names no files that could be read again"):
        held_out_of_run(tmp_path / "m")


def test_a_directory_is_a_run_by_its_settings(tmp_path):
    past_run(tmp_path / "m", write_pairs(tmp_path / "p.jsonl", PAIRS))
    assert is_run(tmp_path / "m")
    assert is_run(tmp_path / "m" / "run")
    assert not is_run(tmp_path)
    assert not is_run(tmp_path / "p.jsonl")
