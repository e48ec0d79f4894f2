from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simsearch.errors import InvalidInput, NotFound, SystemFailure
from simsearch.formats import StdinCopy
from simsearch.training.config import (
    Adapt,
    Augmentation,
    OptimizerName,
    Sampling,
    ScheduleName,
    TrainingConfig,
    TrainingPrecision,
)
from simsearch.training.run_file import DataSource, RunSettings, read_run_file, write_run_file


@pytest.fixture
def run_file(tmp_path):
    """Return a function that writes a run file and gives its path."""

    def write(text: str | bytes) -> Path:
        path = tmp_path / "run.toml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def refusal(path: Path) -> str:
    with pytest.raises(InvalidInput) as caught:
        read_run_file(path)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_run_file_gives_data_encoder_evaluation_and_numbers(run_file, tmp_path):
    path = run_file(
        """
        data = ["pairs.jsonl", "/srv/more.csv"]
        encoder = "BAAI/bge-small-zh-v1.5"
        eval = "../held/out"
        eval_split = "dev"
        objective = "in-batch"
        epochs = 3
        learning_rate = 2e-5
        warmup = 0
        optimizer = "adam"
        freeze = true
        adapt = "last-2"
        augment = ["crop", "dropout"]
        """
    )
    assert read_run_file(path) == RunSettings(
        data=(
            DataSource(tmp_path / "pairs.jsonl", objective="in-batch"),
            DataSource(Path("/srv/more.csv"), objective="in-batch"),
        ),
        encoder="BAAI/bge-small-zh-v1.5",
        evaluation=tmp_path / "../held/out",
        eval_split="dev",
        config=TrainingConfig(
            objective="in-batch",
            epochs=3,
            learning_rate=2e-5,
            warmup=0.0,
            optimizer=OptimizerName.ADAM,
            freeze=True,
            adapt="last-2",
            augment=(Augmentation.CROP, Augmentation.DROPOUT),
        ),
    )


def test_an_empty_file_is_a_run_of_defaults_without_data(run_file):
    found = read_run_file(run_file(""))
    assert found == RunSettings((), None, None, "test", TrainingConfig())


def test_a_whole_number_is_taken_for_a_number_and_becomes_a_float(run_file):
    found = read_run_file(run_file("checkpoint_minutes = 2")).config.checkpoint_minutes
    assert (found, type(found)) == (2.0, float)


def test_a_table_of_data_has_an_objective_and_a_split_of_its_own(run_file, tmp_path):
    path = run_file(
        """
        objective = "cosine"
        [[data]]
        path = "scifact"
        split = "dev"
        objective = "in-batch"
        [[data]]
        path = "scores.tsv"
        """
    )
    assert read_run_file(path).data == (
        DataSource(tmp_path / "scifact", objective="in-batch", split="dev"),
        DataSource(tmp_path / "scores.tsv", objective="cosine", split="train"),
    )


def test_a_table_of_data_has_the_weight_of_its_loss_and_the_field_of_its_head(run_file, tmp_path):
    path = run_file(
        """
        [[data]]
        path = "intents.jsonl"
        objective = "classes"
        weight = 2
        field = "intent"
        [[data]]
        path = "entities.conll"
        objective = "tags"
        """
    )
    settings = read_run_file(path)
    assert settings.data == (
        DataSource(tmp_path / "intents.jsonl", objective="classes", weight=2.0, field="intent"),
        DataSource(tmp_path / "entities.conll", objective="tags"),
    )
    write_run_file(tmp_path / "again.toml", settings)
    assert read_run_file(tmp_path / "again.toml").data == settings.data


def test_paths_and_tables_may_stand_in_one_list(run_file, tmp_path):
    path = run_file('data = ["a.csv", {path = "b.csv", objective = "softmax"}]')
    assert read_run_file(path).data == (
        DataSource(tmp_path / "a.csv"),
        DataSource(tmp_path / "b.csv", objective="softmax"),
    )


def test_relative_paths_are_relative_to_the_file_not_to_where_the_command_runs(
    run_file, tmp_path, monkeypatch
):
    run_file('data = ["pairs.jsonl"]')
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert read_run_file("../run.toml").data[0].path.resolve() == tmp_path / "pairs.jsonl"


def test_an_encoder_that_is_a_directory_beside_the_file_is_that_directory(run_file, tmp_path):
    (tmp_path / "models" / "base").mkdir(parents=True)
    found = read_run_file(run_file('encoder = "models/base"'))
    assert found.encoder == str(tmp_path / "models" / "base")


def test_an_encoder_written_as_a_path_is_never_a_hub_name(run_file, tmp_path):
    assert read_run_file(run_file('encoder = "./gone"')).encoder == str(tmp_path / "gone")


def test_a_dash_is_stdin(run_file):
    assert read_run_file(run_file('data = ["-"]')).data == (DataSource(Path("-")),)


def test_a_byte_order_mark_and_windows_line_ends_are_read(run_file):
    assert read_run_file(run_file(b"\xef\xbb\xbfseed = 7\r\nepochs = 1\r\n")).config.seed == 7


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("batch-size = 3", "unknown key 'batch-size' (did you mean 'batch_size'?)"),
        ("epoch = 3", "unknown key 'epoch' (did you mean 'epochs'?)"),
        ("[train]\nepochs = 3", "unknown key 'train' (there are: data, encoder, eval, "),
        ("epochs = '3'", "epochs must be an integer, got the string '3'"),
        ("epochs = 3.0", "epochs must be an integer, got the float 3.0"),
        ("epochs = true", "epochs must be an integer, got the boolean true"),
        ("warmup = '10%'", "warmup must be a number, got the string '10%'"),
        ("warmup = false", "warmup must be a number, got the boolean false"),
        ("min_improvement = nan", "min_improvement must be a number, got the float nan"),
        ("freeze = 1", "freeze must be true or false, got the integer 1"),
        ("optimizer = ['sgd']", "optimizer must be a string, got a list"),
        ("metric = 2026-11-26", "metric must be a string, got a date or time"),
        ("augment = 'crop'", "augment must be a list of strings, got the string 'crop'"),
        ("augment = [1]", "augment must be a list of strings, got a list"),
        ("[adapt]\nlast = 2", "adapt must be a string, got a table"),
        ("encoder = 3", "encoder must be a string, got the integer 3"),
        ("encoder = ''", "encoder is empty (name it, or leave it out)"),
        ("eval = ' '", "eval is empty (name it, or leave it out)"),
        ("eval_split = 3", "eval_split must be a string, got the integer 3"),
        ("seed = 0x1" + "0" * 16, "seed must fit into 64 bits, got an integer of 65 bits"),
        ("seed = 0x1" + "0" * 9999, "seed must fit into 64 bits, got an integer of 39997 bits"),
        ("metric = 0x1" + "0" * 9999, "metric must be a string, got an integer of 39997 bits"),
        ("data = 'a.csv'", "data must be a list of paths, or of tables ([[data]]), got the string"),
        ("[data]\npath = 'a.csv'", "data must be a list of paths, or of tables ([[data]]), got a"),
        ("data = ['a.csv', 3]", "data entry 2: must be a path or a table, got the integer 3"),
        ("data = ['']", "data entry 1: path is empty"),
        ("[[data]]\nsplit = 'dev'", "data entry 1: path is missing (name a file or a folder)"),
        ("[[data]]\npath = 3", "data entry 1: path must be a string, got the integer 3"),
        (
            "[[data]]\npath = 'a'\n[[data]]\npath = 'b'\nobjectiv = 'cosine'",
            "data entry 2: unknown key 'objectiv' (did you mean 'objective'?)",
        ),
        (
            "[[data]]\npath = 'a'\nqqq = 1",
            "data entry 1: unknown key 'qqq' (there are: path, objective, split, weight, field)",
        ),
        (
            "[[data]]\npath = 'a'\nsplit = false",
            "data entry 1: split must be a string, got the boolean false",
        ),
    ],
)
def test_what_no_run_has_is_refused_by_key(run_file, text, message):
    path = run_file(text)
    assert refusal(path).startswith(f"{path}: {message}")


@pytest.mark.parametrize(
    "values",
    [
        {"epochs": 0},
        {"warmup": 1.5},
        {"held_out": 0.0},
        {"optimizer": "lion"},
        {"augment": ["shuffle"]},
        {"adapt": "last-0"},
        {"checkpoint_minutes": -0.5},
        {"temperature": 0.0},
        {"margin": 2.5},
    ],
)
def test_a_value_out_of_range_is_refused_as_it_is_without_a_file(run_file, values):
    with pytest.raises(InvalidInput) as caught:
        TrainingConfig(**values)
    [(name, value)] = values.items()
    path = run_file(f"{name} = {value!r}")
    assert refusal(path) == f"{path}: {caught.value}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epochs = 3\nwarmup 0.1\n", ":2:8: Expected '=' after a key"),
        ("epochs = 3\nencoder =", ":2:10: Invalid value"),
        ("epochs", ":1:7: Expected '=' after a key"),
        ("epochs = 3\nepochs = 4\n", ":2:11: Cannot overwrite a value"),
        ('encoder = "a\nb"', ":1:13: Illegal character '\\n'"),
        (b"epochs = 3\nencoder = '\xe9t\xe9'", ":2:12: byte 0xe9 is not UTF-8, which TOML is"),
        ('{"anchor": "a", "positive": "b"}', ":1:1: Invalid statement"),
        ("seed = " + "9" * 5000, ": a number has more digits than 64 bits can hold"),
        ("data = " + "[" * 100_000, ": lists or tables are nested too deeply"),
    ],
)
def test_what_is_no_toml_is_refused_with_its_place(run_file, text, message):
    path = run_file(text)
    assert refusal(path).startswith(f"{path}{message}")


def test_a_missing_file_is_not_found(tmp_path):
    with pytest.raises(NotFound, match=r"gone\.toml: no such file"):
        read_run_file(tmp_path / "gone.toml")


def test_a_name_that_no_file_can_have_is_refused():
    with pytest.raises(InvalidInput, match="not a file name"):
        read_run_file("run\0.toml")


def test_a_directory_is_refused(tmp_path):
    assert "is a directory, expected a TOML file" in refusal(tmp_path)


def test_a_fifo_is_refused_without_waiting_for_its_writer(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert "is not a regular file, expected a TOML file" in refusal(tmp_path / "pipe")


def test_a_large_file_is_refused_without_being_read(tmp_path):
    path = tmp_path / "data.toml"
    with path.open("wb") as file:
        file.truncate(100_000_000)  # a hole: nothing is written
    assert "is larger than 256 KiB, expected a TOML file" in refusal(path)


def test_a_file_at_the_limit_is_read(run_file):
    assert read_run_file(run_file("#" * ((1 << 18) - 9) + "\nseed = 7")).config.seed == 7


SHARE = st.floats(0, 1, exclude_max=True)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
PATHS = TEXT.filter(lambda name: "/" not in name and "\0" not in name).map(Path("/srv").joinpath)


def maybe(values: st.SearchStrategy) -> st.SearchStrategy:
    return st.none() | values


CONFIGS = st.builds(
    TrainingConfig,
    objective=TEXT,
    epochs=maybe(st.integers(1, 2**63 - 1)),
    batch_size=maybe(st.integers(1, 4096)),
    learning_rate=maybe(st.floats(0, 1, exclude_min=True, exclude_max=True)),
    optimizer=maybe(st.sampled_from(OptimizerName)),
    schedule=maybe(st.sampled_from(ScheduleName)),
    warmup=SHARE,
    weight_decay=SHARE,
    adapt=st.sampled_from([*(set(Adapt) - {Adapt.LAST}), "last-1", "last-12"]),
    freeze=st.booleans(),
    layer_decay=st.floats(0, 1, exclude_min=True),
    from_scratch=st.booleans(),
    negatives=maybe(st.integers(0, 10)),
    negatives_window=st.integers(10, 1000),
    negatives_margin=SHARE,
    negatives_every=st.integers(0, 9),
    augment=st.lists(st.sampled_from(Augmentation)).map(tuple),
    sampling=st.sampled_from(Sampling),
    max_length=maybe(st.integers(1, 8192)),
    held_out=st.floats(0, 1, exclude_min=True, exclude_max=True),
    held_out_limit=st.integers(1, 2**63 - 1),
    dev=SHARE,
    dev_limit=st.integers(0, 500),
    match_score=st.none() | st.floats(-10, 10),
    patience=maybe(st.integers(1, 9)),
    min_improvement=st.floats(0, allow_infinity=False),
    max_forgetting=SHARE,
    distractors=st.integers(0, 9999),
    metric=maybe(TEXT),
    precision=st.sampled_from(TrainingPrecision),
    micro_batch_tokens=st.integers(1, 9999),
    checkpoint_minutes=st.floats(0, exclude_min=True),
    seed=st.integers(0, 2**32 - 1),
)
SETTINGS = st.builds(
    RunSettings,
    data=st.lists(st.builds(DataSource, PATHS, TEXT, TEXT) | st.builds(DataSource, PATHS)).map(
        tuple
    ),
    encoder=maybe(st.sampled_from(["BAAI/bge-small-zh-v1.5", "/srv/模型"])),
    evaluation=maybe(PATHS),
    eval_split=TEXT,
    config=CONFIGS,
)


@given(SETTINGS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
def test_settings_that_were_written_are_read_back(tmp_path, given_settings):
    write_run_file(tmp_path / "run.toml", given_settings)
    assert read_run_file(tmp_path / "run.toml") == given_settings


def test_every_setting_of_a_run_can_stand_in_a_file(tmp_path):
    default = RunSettings((), None, None, "test", TrainingConfig())
    write_run_file(tmp_path / "run.toml", default)
    written = set(re.findall(r"^(\w+) =", (tmp_path / "run.toml").read_text(), re.MULTILINE))
    unset = {name for name in TrainingConfig.__slots__ if getattr(default.config, name) is None}
    assert written == {"data", "eval_split", *TrainingConfig.__slots__} - unset


def test_a_written_file_says_how_to_pass_it_back(tmp_path):
    write_run_file(tmp_path / "run.toml", RunSettings((), None, None, "test", TrainingConfig()))
    text = (tmp_path / "run.toml").read_text()
    assert text.splitlines()[:2] == [
        "# The settings of a fine-tuning run. The same again:",
        "# simsearch finetune --config FILE -o MODEL_DIR",
    ]


def test_paths_are_written_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base").mkdir()
    relative = RunSettings(
        (DataSource(Path("a.csv")),), "base", Path("held"), "test", TrainingConfig()
    )
    (tmp_path / "run").mkdir()
    write_run_file("run/run.toml", relative)
    assert read_run_file("run/run.toml") == RunSettings(
        (DataSource(tmp_path / "a.csv"),),
        str(tmp_path / "base"),
        tmp_path / "held",
        "test",
        TrainingConfig(),
    )


@pytest.mark.parametrize("path", [Path("-"), StdinCopy("/tmp/spool/stdin")])
def test_stdin_is_written_as_a_dash(tmp_path, path):
    source = DataSource(path)
    write_run_file(
        tmp_path / "run.toml", RunSettings((source,), None, None, "test", TrainingConfig())
    )
    assert read_run_file(tmp_path / "run.toml").data == (DataSource(Path("-")),)


def test_a_file_name_that_is_no_unicode_is_refused_and_nothing_is_written(tmp_path):
    source = DataSource(Path(os.fsdecode(b"/srv/caf\xe9.csv")))
    with pytest.raises(InvalidInput, match=r"the file name in .*/srv/caf.* not UTF-8"):
        write_run_file(
            tmp_path / "run.toml", RunSettings((source,), None, None, "test", TrainingConfig())
        )
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_a_failure_of_the_system(tmp_path):
    nothing = RunSettings((), None, None, "test", TrainingConfig())
    with pytest.raises(SystemFailure, match="No such file or directory"):
        write_run_file(tmp_path / "gone" / "run.toml", nothing)
