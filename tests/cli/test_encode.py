"""encode and similarity: the encoder by itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from command_line import FillStdin, Run, Write

from simsearch.encoder import Encoder


def test_embeddings_are_written_to_a_file(
    run: Run, write: Write, tmp_path: Path, tiny_encoder_dir: Path
) -> None:
    texts = write("texts.txt", "my card\nthe cat\n")
    target = tmp_path / "x.npy"
    outcome = run(
        "encode", "bird", "--texts", texts, "--encoder", tiny_encoder_dir, "-o", target, "--json"
    )
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.object == {
        "texts": 3,
        "truncated": 0,
        "dim": 32,
        "encoder": str(tiny_encoder_dir),
        "output": str(target),
    }
    expected = Encoder.load(tiny_encoder_dir).encode(["bird", "my card", "the cat"])
    np.testing.assert_allclose(np.load(target), expected, atol=1e-6)


def test_texts_are_read_from_stdin(run: Run, tiny_encoder_dir: Path, fill_stdin: FillStdin) -> None:
    fill_stdin(b"my card\nthe cat\n")
    outcome = run("encode", "--texts", "-", "--encoder", tiny_encoder_dir)
    assert [each["text"] for each in outcome.objects] == ["my card", "the cat"]


@pytest.mark.parametrize("place", ["file", "stdin"])
def test_a_blank_line_among_texts_is_named(
    run: Run, write: Write, tiny_encoder_dir: Path, fill_stdin: FillStdin, place: str
) -> None:
    path = write("texts.txt", "my card\n\nthe cat\n")
    fill_stdin(path.read_bytes())
    argument, name = {"file": (path, path), "stdin": ("-", "stdin")}[place]
    outcome = run("encode", "--texts", argument, "--encoder", tiny_encoder_dir)
    assert outcome.refusal(3) == f"{name}:2: the text is empty"


def test_a_refused_text_leaves_the_file_that_was_there(
    run: Run, write: Write, tiny_encoder_dir: Path
) -> None:
    target = write("x.npy", b"old")
    assert run("encode", "", "--encoder", tiny_encoder_dir, "-o", target).code == 2
    assert target.read_bytes() == b"old"


def test_similarity_is_a_cosine(run: Run, tiny_encoder_dir: Path) -> None:
    outcome = run("similarity", "my card", "the cat", "--encoder", tiny_encoder_dir)
    first, second = Encoder.load(tiny_encoder_dir).encode(["my card", "the cat"])
    assert (outcome.code, outcome.out) == (0, f"{first @ second:.4f}\n")
