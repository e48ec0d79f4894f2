"""Catalogue, rows 111 and 112: memory that ends while texts are encoded, and a GPU's.

Row 53 is in test_vectors.py. No test needs a GPU: what torch says of one is said in its place.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import Write, contents
from conftest import WORDS, write_tiny_encoder

from simsearch.encoder import Encoder
from simsearch.errors import EncoderError
from simsearch.records import Document
from simsearch.search_index import SearchIndex

WINDOW = 4096
MIB = 1 << 20
REFUSAL = f"simsearch: error: out of memory: not even one text of {WINDOW} tokens fits\n"

# Runs the command line with no more address space than it has when it first encodes, and some MiB.
# All texts are one batch. Prints the sizes of the batches that were tried.
DRIVER = """
import resource
import sys

from simsearch.cli import main
from simsearch.encoder.onnx_runtime import OnnxRuntime

tried = []
honest = OnnxRuntime.run


def run(self, batch, output):
    if not tried:
        (used,) = (line.split()[1] for line in open("/proc/self/status") if "VmSize" in line)
        limit = 1024 * int(used) + int(sys.argv[1])
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    tried.append(len(batch.ids))
    return honest(self, batch, output)


OnnxRuntime.run = run
OnnxRuntime.token_budget = 10**9
code = main(sys.argv[2:])
print("tried", *tried)
sys.exit(code)
"""


@pytest.fixture(scope="module")
def long_encoder_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an encoder with a window of 4,096 tokens, of which a full one takes 128 MiB."""
    import torch
    from transformers import BertConfig, BertModel

    directory = write_tiny_encoder(tmp_path_factory.mktemp("models") / "long", window=WINDOW)
    config = BertConfig.from_pretrained(directory, max_position_embeddings=WINDOW)
    torch.manual_seed(0)
    BertModel(config).save_pretrained(directory)
    assert Encoder.load(directory).max_length == WINDOW
    return directory


@pytest.fixture
def long_index(long_encoder_dir: Path, tmp_path: Path) -> Path:
    path = tmp_path / "index"
    with SearchIndex.create(path, encoder=long_encoder_dir) as index:
        index.add([Document("old", "my card was swallowed")])
    return path


def limited(room: int, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", DRIVER, str(room), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def test_row_111_a_batch_that_does_not_fit_into_memory_is_encoded_in_halves(
    long_index: Path, write: Write
) -> None:
    # A text of 1,024 tokens takes 8 MiB for the attention of one layer, and that several times.
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(rng.choice(WORDS, 4), size=1022)) for _ in range(40)]
    corpus = write(
        "new.jsonl",
        "".join(json.dumps({"id": str(n), "text": text}) + "\n" for n, text in enumerate(texts)),
    )
    finished = limited(160 * MIB, "add", corpus, "-i", long_index)
    assert finished.returncode == 0
    *_, tried = finished.stdout.splitlines()
    assert tried.startswith("tried 40 20 ")
    with SearchIndex.open(long_index) as index:
        vectors = Encoder.load(long_index / "encoder").encode(texts)
        assert [hits[0].id for hits in index.search_vectors(vectors, k=1)] == [
            str(number) for number in range(40)
        ]


@pytest.mark.parametrize("command", ["add", "upsert"])
def test_row_111_a_text_that_does_not_fit_into_memory_leaves_the_index_as_it_was(
    long_index: Path, write: Write, command: str
) -> None:
    before = contents(long_index)
    rows = [{"id": "short", "text": "dog"}, {"id": "long", "text": "my cat sat " * 2000}]
    corpus = write("new.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    finished = limited(48 * MIB, command, corpus, "-i", long_index)
    assert finished.returncode == 7
    assert finished.stdout == "tried 2 1\n"
    assert finished.stderr.endswith(REFUSAL)
    assert contents(long_index) == before


def test_row_111_a_text_that_does_not_fit_into_memory_leaves_no_file(
    long_encoder_dir: Path, write: Write, tmp_path: Path
) -> None:
    texts = write("texts.txt", "dog\n" + "my cat sat " * 2000 + "\n")
    target = tmp_path / "out" / "x.npy"
    target.parent.mkdir()
    finished = limited(
        48 * MIB, "encode", "--texts", texts, "--encoder", long_encoder_dir, "-o", target
    )
    assert (finished.returncode, finished.stdout) == (7, "tried 2 1\n")
    assert finished.stderr.endswith(REFUSAL)
    assert list(target.parent.iterdir()) == []


def test_row_111_out_of_memory_is_one_line(long_encoder_dir: Path, write: Write) -> None:
    texts = write("texts.txt", "my cat sat " * 2000 + "\n")
    finished = limited(48 * MIB, "encode", "--texts", texts, "--encoder", long_encoder_dir)
    assert (finished.returncode, finished.stderr) == (7, REFUSAL)


def failing(monkeypatch: pytest.MonkeyPatch, error: Exception, *, fits: int) -> list[int]:
    """Let torch fail as on a GPU on batches of more rows; return the sizes that were tried."""
    from simsearch.encoder.torch_runtime import EncoderModule

    sizes: list[int] = []
    transform = EncoderModule.transform

    def run(module: Any, ids: Any, mask: Any, **settings: Any) -> Any:
        sizes.append(len(ids))
        if len(ids) > fits:
            raise error
        return transform(module, ids, mask, **settings)

    monkeypatch.setattr(EncoderModule, "transform", run)
    return sizes


def test_row_112_a_gpu_without_memory_for_a_batch_encodes_it_in_halves(
    tiny_encoder_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    texts = ["my card", "the cat", "a dog", "the bird"]
    expected = Encoder.load(tiny_encoder_dir, runtime="torch").encode(texts)
    encoder = Encoder.load(tiny_encoder_dir, runtime="torch")
    error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
    sizes = failing(monkeypatch, error, fits=1)
    np.testing.assert_allclose(encoder.encode(texts), expected, atol=1e-5)
    assert sizes == [4, 2, 1, 1, 2, 1, 1]


def test_row_112_a_gpu_that_is_lost_is_one_line(
    tiny_encoder_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = Encoder.load(tiny_encoder_dir, runtime="torch")
    error = RuntimeError("CUDA error: unspecified launch failure\nCUDA kernel errors might be ...")
    failing(monkeypatch, error, fits=0)
    message = r"^the encoder failed on a batch of \(1, 4\): CUDA error: unspecified launch failure$"
    with pytest.raises(EncoderError, match=message) as caught:
        encoder.encode(["my card"])
    assert caught.value.exit_code == 7
