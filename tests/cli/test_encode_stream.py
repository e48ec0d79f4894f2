"""encode --texts: a file of any length, a chunk at a time."""

from __future__ import annotations

import logging
import subprocess
import sys
import tempfile
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import FillStdin, Run, Write, as_jsonl
from conftest import WORDS

from simsearch.cli.encode import _cut
from simsearch.encoder import Encoder, forward_pass, precision
from simsearch.encoder.onnx_runtime import OnnxRuntime
from simsearch.errors import EncoderError
from simsearch.records import Document
from simsearch.search_index import SearchIndex


def many_texts(count: int) -> list[str]:
    """Return texts of 1 to 12 words, of which some are equal."""
    rng = np.random.default_rng(count)
    return [" ".join(rng.choice(WORDS, size=rng.integers(1, 13))) for _ in range(count)]


def lines(texts: list[str]) -> str:
    return "".join(f"{text}\n" for text in texts)


@pytest.mark.parametrize("place", ["file", "stdin"])
def test_ten_thousand_lines_become_the_rows_of_a_file_in_their_order(
    run: Run,
    write: Write,
    tmp_path: Path,
    tiny_encoder_dir: Path,
    fill_stdin: FillStdin,
    place: str,
) -> None:
    texts = many_texts(10_000)
    path = write("texts.txt", lines(texts))
    fill_stdin(path.read_bytes())
    target = tmp_path / "out" / "x.npy"
    target.parent.mkdir()
    source = {"file": path, "stdin": "-"}[place]
    outcome = run(
        *("encode", "--texts", source, "--encoder", tiny_encoder_dir, "-o", target),
        *("--precision", "fp32"),
    )
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out == f"wrote 10,000 embeddings of dim 32 to {target}\n"
    written = np.load(target, allow_pickle=False)
    assert (written.dtype, written.shape) == (np.float32, (10_000, 32))
    np.testing.assert_allclose(written, Encoder.load(tiny_encoder_dir).encode(texts), atol=1e-5)
    assert list(target.parent.iterdir()) == [target]  # nor is the copy of stdin left


def test_a_narrower_file_holds_the_first_components_at_unit_length(
    run: Run, write: Write, tmp_path: Path, tiny_encoder_dir: Path
) -> None:
    texts = many_texts(5000)
    path, target = write("texts.txt", lines(texts)), tmp_path / "x.npy"
    run(
        *("encode", "--texts", path, "--encoder", tiny_encoder_dir, "-o", target),
        *("--dim", 8, "--precision", "fp32"),
    )
    first = Encoder.load(tiny_encoder_dir).encode(texts)[:, :8]
    expected = first / np.linalg.norm(first, axis=1, keepdims=True)
    np.testing.assert_allclose(np.load(target), expected, atol=1e-5)


def test_a_width_that_the_encoder_was_not_trained_for_is_warned_of(
    run: Run, tiny_encoder_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("encode", "my card", "--encoder", tiny_encoder_dir, "--dim", 8)
    assert "does not say that it was trained for dim 8 (Matryoshka)" in run(*arguments).err
    monkeypatch.setattr(Encoder, "trained_dims", (8,))
    assert run(*arguments).err == ""


def test_a_text_that_is_zero_when_cut_is_named_by_its_place_in_the_stream() -> None:
    parts = [np.eye(4, dtype=np.float32)[:2]] * 3 + [np.eye(4, dtype=np.float32)[1:]]
    with pytest.raises(EncoderError, match=r"for text 7 \(all of its first 2 components are 0"):
        list(_cut(iter(parts), 2))


def test_arguments_come_before_the_lines_of_a_file_and_both_are_printed_in_order(
    run: Run, write: Write, tiny_encoder_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forward_pass, "CHUNK", 64)
    texts = many_texts(200)
    path = write("texts.txt", lines(texts))
    outcome = run("encode", "bird", "cat", "--texts", path, "--encoder", tiny_encoder_dir)
    assert (outcome.code, outcome.err) == (0, "")
    assert [each["text"] for each in outcome.objects] == ["bird", "cat", *texts]
    np.testing.assert_allclose(
        [each["embedding"] for each in outcome.objects],
        Encoder.load(tiny_encoder_dir).encode(["bird", "cat", *texts]),
        atol=1e-5,
    )


@pytest.mark.parametrize("place", ["file", "stdin"])
def test_a_blank_line_in_the_middle_is_named_and_nothing_is_written(
    run: Run,
    write: Write,
    tmp_path: Path,
    tiny_encoder_dir: Path,
    fill_stdin: FillStdin,
    place: str,
) -> None:
    texts = many_texts(6000)
    texts[5000] = " "
    path = write("texts.txt", lines(texts))
    fill_stdin(path.read_bytes())
    source, name = {"file": (path, path), "stdin": ("-", "stdin")}[place]
    (tmp_path / "out").mkdir()
    target = tmp_path / "out" / "x.npy"
    outcome = run("encode", "--texts", source, "--encoder", tiny_encoder_dir, "-o", target)
    assert outcome.refusal(3) == f"{name}:5001: the text is empty"
    assert list((tmp_path / "out").iterdir()) == []


def test_a_failure_in_the_middle_leaves_the_file_that_was_there(
    run: Run,
    write: Write,
    tmp_path: Path,
    tiny_encoder_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(forward_pass, "CHUNK", 64)
    honest, batches = OnnxRuntime.run, iter(range(10))

    def run_eight(self: OnnxRuntime, batch: object, output: str) -> object:
        if next(batches) == 8:
            raise EncoderError("broken")
        return honest(self, batch, output)

    monkeypatch.setattr(OnnxRuntime, "run", run_eight)
    target = write("out/x.npy", b"old")
    path = write("texts.txt", lines(many_texts(1000)))
    outcome = run("encode", "--texts", path, "--encoder", tiny_encoder_dir, "-o", target)
    assert outcome.refusal(7) == "broken"
    assert target.read_bytes() == b"old"
    assert list(target.parent.iterdir()) == [target]


def test_bf16_is_as_good_and_warns_of_nothing(
    run: Run, write: Write, tmp_path: Path, tiny_encoder_dir: Path
) -> None:
    texts = many_texts(300)
    path, target = write("texts.txt", lines(texts)), tmp_path / "x.npy"
    outcome = run(
        *("encode", "--texts", path, "--encoder", tiny_encoder_dir, "-o", target),
        *("--precision", "bf16", "--device", "cpu", "--verbose"),
    )
    assert outcome.code == 0
    assert "documents are encoded in bf16" in outcome.err
    assert "warning" not in outcome.err
    cosines = (np.load(target) * Encoder.load(tiny_encoder_dir).encode(texts)).sum(axis=1)
    assert cosines.min() >= 0.999


@pytest.mark.parametrize(("count", "in_bf16"), [(2, False), (3, True)])
def test_without_a_wish_many_texts_are_encoded_in_bf16_where_that_is_fast(
    run: Run, tiny_encoder_dir: Path, monkeypatch: pytest.MonkeyPatch, count: int, in_bf16: bool
) -> None:
    monkeypatch.setattr(precision, "has_gpu", lambda: False)
    monkeypatch.setattr(precision, "cpu_has_bfloat16", lambda: True)
    monkeypatch.setattr(precision, "_WORTH_OPENVINO", 3)
    monkeypatch.setattr(precision, "_WORTH_TORCH", 3)
    outcome = run("encode", *(["cat"] * count), "--encoder", tiny_encoder_dir, "--verbose")
    assert outcome.code == 0
    assert ("documents are encoded in bf16 by " in outcome.err) is in_bf16


@pytest.mark.parametrize("numbers", ["fp64", "", "BF17"])
def test_an_unknown_precision_is_wrong_usage(
    run: Run, tiny_encoder_dir: Path, numbers: str
) -> None:
    outcome = run("encode", "cat", "--encoder", tiny_encoder_dir, "--precision", numbers)
    assert "'--precision'" in outcome.refusal(2)


@pytest.mark.parametrize(
    "devices",
    [
        "cpu,",
        ",",
        "cpu,,cpu",
        " ",
        "",
    ],
)
def test_an_empty_device_is_refused(run: Run, tiny_encoder_dir: Path, devices: str) -> None:
    outcome = run("encode", "cat", "--encoder", tiny_encoder_dir, "--device", devices)
    assert outcome.refusal(2) == f"--device {devices!r} names an empty device"


def test_a_device_that_is_not_there_is_not_passed_over(run: Run, tiny_encoder_dir: Path) -> None:
    outcome = run("encode", "cat", "--encoder", tiny_encoder_dir, "--device", "cuda:7")
    assert "'cuda:7' cannot be used" in outcome.refusal(7)


@pytest.mark.parametrize("devices", ["gpu", "cpu,foo", "cuda:0,nowhere"])
def test_a_word_that_names_no_device_is_wrong_usage(
    run: Run, tiny_encoder_dir: Path, devices: str
) -> None:
    outcome = run("encode", "cat", "--encoder", tiny_encoder_dir, "--device", devices)
    assert outcome.refusal(2).startswith(f"no device '{devices.split(',')[-1]}'")


def test_texts_from_stdin_are_copied_to_no_place_of_the_user(
    run: Run,
    fill_stdin: FillStdin,
    tmp_path: Path,
    tiny_encoder_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here, spool = tmp_path / "here", tmp_path / "spool"
    here.mkdir(mode=0o500)
    spool.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setattr(tempfile, "tempdir", str(spool))
    places: list[list[Path]] = []
    honest = Encoder.encode_stream

    def look_around(self: Encoder, *arguments: Any, **options: Any) -> Any:
        places.append([*here.iterdir(), *spool.iterdir()])
        return honest(self, *arguments, **options)

    monkeypatch.setattr(Encoder, "encode_stream", look_around)
    fill_stdin(b"cat\ndog\n")
    outcome = run("encode", "--texts", "-", "--encoder", tiny_encoder_dir)
    assert [each["text"] for each in outcome.objects] == ["cat", "dog"]
    ((copy,),) = places
    assert copy.parent == spool
    assert [*here.iterdir(), *spool.iterdir()] == []


@pytest.mark.parametrize("content", ["", "\n"])
def test_a_file_without_a_text_is_bad_data(
    run: Run, write: Write, tiny_encoder_dir: Path, content: str
) -> None:
    path = write("texts.txt", content)
    outcome = run("encode", "--texts", path, "--encoder", tiny_encoder_dir)
    assert str(path) in outcome.refusal(3)


def test_an_index_is_built_by_several_processes(
    run: Run, write: Write, tmp_path: Path, tiny_encoder_dir: Path
) -> None:
    texts = many_texts(1500)  # two commits
    documents = [Document(str(number), text) for number, text in enumerate(texts)]
    corpus, target = write("corpus.jsonl", as_jsonl(documents)), tmp_path / "index"
    outcome = run(
        *("index", corpus, "-i", target, "--encoder", tiny_encoder_dir, "--device", "cpu,cpu")
    )
    assert (outcome.code, outcome.err) == (0, "")
    (hit,) = run("query", texts[1400], "-i", target, "-k", 1, "--json").object["hits"]
    assert hit["text"] == texts[1400]
    assert hit["score"] == pytest.approx(1, abs=1e-5)
    with SearchIndex.open(target) as index:
        assert (index.count(), index.finished) == (1500, True)


@pytest.mark.parametrize("then", [99, 101])
def test_a_file_that_changes_while_it_is_read_is_refused(
    run: Run,
    tmp_path: Path,
    tiny_encoder_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    then: int,
) -> None:
    from simsearch.cli import encode

    counts = iter([100, then])
    monkeypatch.setattr(encode, "read_texts", lambda path: iter(["cat"] * next(counts)))
    target = tmp_path / "x.npy"
    outcome = run("encode", "--texts", "x", "--encoder", tiny_encoder_dir, "-o", target)
    outcome.refusal(3)
    assert not target.exists()


@pytest.fixture
def quiet_log() -> Iterator[None]:
    """Keep records of the log from being counted."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


def test_memory_does_not_grow_with_the_number_of_lines(
    run: Run,
    write: Write,
    tmp_path: Path,
    tiny_encoder_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    quiet_log: None,
) -> None:
    monkeypatch.setattr(forward_pass, "CHUNK", 256)
    rest = "my cat sat on the mat " * 10
    peaks = []
    for count in (300, 2_000, 20_000):  # the first for what is imported and made only once
        path = write("texts.txt", "".join(f"{number} {rest}\n" for number in range(count)))
        tracemalloc.start()
        outcome = run(
            *("encode", "--texts", path, "--encoder", tiny_encoder_dir),
            *("-o", tmp_path / "x.npy", "--quiet", "--precision", "fp32"),
        )
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert outcome.code == 0
    # 18,000 lines more are 5 MB of text, and 2.3 MB of embeddings.
    assert abs(peaks[2] - peaks[1]) < 1_000_000


SCRIPT = """
import sys
from simsearch.cli import main
code = main(sys.argv[1:])
sys.exit(code or " ".join({"torch", "openvino", "onnxruntime"} & sys.modules.keys()))
"""


def libraries_of(*arguments: str | Path) -> str:
    """Return which of the libraries that run an encoder a command imports."""
    finished = subprocess.run(
        [sys.executable, "-c", SCRIPT, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert finished.stdout.startswith(("{", "  1")), finished  # a result
    return finished.stderr.strip()


def test_one_text_is_encoded_without_the_libraries_for_many(tiny_encoder_dir: Path) -> None:
    assert libraries_of("encode", "my card", "--encoder", tiny_encoder_dir) == "onnxruntime"


def test_a_query_is_answered_without_the_libraries_for_many(index_dir: Path) -> None:
    assert libraries_of("query", "my card", "-i", index_dir) == "onnxruntime"
