"""Catalogue, rows 45-53: vectors that somebody else computed, and an encoder that gives NaN."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import Refuse, Run, Write, contents

from simsearch.encoder.onnx_runtime import OnnxRuntime
from simsearch.search_index import SearchIndex

DIM = 32  # of the tiny encoder

Save = Callable[[np.ndarray], Path]


@pytest.fixture
def corpus(write: Write) -> Path:
    """Return a corpus of three documents."""
    rows = [
        {"id": f"new-{n}", "text": f"{word} lost"} for n, word in enumerate(["dog", "cat", "bird"])
    ]
    return write("new.jsonl", "".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """Return a function that writes an array to vectors.npy."""

    def save_array(array: np.ndarray) -> Path:
        path = tmp_path / "vectors.npy"
        np.save(path, array, allow_pickle=True)
        return path

    return save_array


def three_vectors() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(3, DIM)).astype(np.float32)


def with_value(value: float) -> np.ndarray:
    vectors = three_vectors()
    vectors[1, 5] = value
    return vectors


def test_row_45_nan_in_given_vectors_names_the_row(
    refuse: Refuse, corpus: Path, save: Save
) -> None:
    path = save(with_value(np.nan))
    message = refuse(corpus, "--embeddings", path)
    assert message == f"{path}: row 1 (counted from 0) holds NaN"


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_row_46_infinity_in_given_vectors_names_the_row(
    refuse: Refuse, corpus: Path, save: Save, value: float
) -> None:
    path = save(with_value(value))
    message = refuse(corpus, "--embeddings", path)
    assert message == f"{path}: row 1 (counted from 0) holds infinity"


def test_row_47_a_zero_vector_is_refused(refuse: Refuse, corpus: Path, save: Save) -> None:
    vectors = three_vectors()
    vectors[2] = 0
    path = save(vectors)
    message = refuse(corpus, "--embeddings", path)
    assert message == f"{path}: row 2 (counted from 0) is zero and has no direction"


def test_row_48_a_wrong_dimension_says_which_was_expected(
    refuse: Refuse, corpus: Path, save: Save
) -> None:
    path = save(np.ones((3, 64), dtype=np.float32))
    assert refuse(corpus, "--embeddings", path) == f"{path}: expected dim 32, got 64"


@pytest.mark.parametrize(
    "convert",
    [
        lambda vectors: vectors.astype(np.float64),
        lambda vectors: vectors.astype(">f4"),
        np.asfortranarray,
        lambda vectors: vectors * np.float32(1e38) / np.abs(vectors).max(),
        lambda vectors: vectors * np.float32(1e-30),
    ],
    ids=["float64", "big-endian", "fortran", "huge", "tiny"],
)
def test_row_49_other_layouts_of_numbers_are_converted(
    run: Run,
    corpus: Path,
    save: Save,
    index_dir: Path,
    convert: Callable[[np.ndarray], np.ndarray],
) -> None:
    vectors = three_vectors()
    outcome = run("add", corpus, "-i", index_dir, "--embeddings", save(convert(vectors)))
    assert (outcome.code, outcome.err) == (0, "")
    with SearchIndex.open(index_dir) as index:
        best = [hits[0] for hits in index.search_vectors(vectors, k=1)]
    assert [hit.id for hit in best] == ["new-0", "new-1", "new-2"]
    assert [hit.score for hit in best] == pytest.approx([1, 1, 1], abs=1e-6)


@pytest.mark.parametrize("shape", [(3 * DIM,), (3, DIM, 1), ()])
def test_row_49_any_other_number_of_axes_is_refused(
    refuse: Refuse, corpus: Path, save: Save, shape: tuple[int, ...]
) -> None:
    path = save(np.ones(shape, dtype=np.float32))
    message = refuse(corpus, "--embeddings", path)
    assert message == f"{path}: expected shape (n, dim), got {shape}"


def test_row_50_what_overflowed_in_float16_is_refused(
    refuse: Refuse, corpus: Path, save: Save
) -> None:
    with np.errstate(over="ignore"):
        path = save(with_value(1e5).astype(np.float16))
    message = refuse(corpus, "--embeddings", path)
    assert message == f"{path}: row 1 (counted from 0) holds infinity"


def test_row_50_what_would_overflow_in_float32_is_refused(
    refuse: Refuse, corpus: Path, save: Save
) -> None:
    vectors = three_vectors().astype(np.float64)
    vectors[1, 5] = 1e39
    path = save(vectors)
    message = refuse(corpus, "--embeddings", path)
    assert message == f"{path}: row 1 (counted from 0) is too large for float32"


class Bomb:
    """An object that makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def test_row_51_an_array_of_objects_is_refused_and_never_unpickled(
    refuse: Refuse, corpus: Path, save: Save, tmp_path: Path
) -> None:
    path = save(np.array([Bomb(tmp_path / "exploded")], dtype=object))
    message = refuse(corpus, "--embeddings", path)
    assert message.startswith(f"{path}: not a readable .npy file of numbers: ")
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("count", [2, 4])
def test_row_52_another_number_of_vectors_than_documents_is_refused(
    refuse: Refuse, corpus: Path, save: Save, count: int
) -> None:
    path = save(np.ones((count, DIM), dtype=np.float32))
    message = refuse(corpus, "--embeddings", path)
    assert message == f"{path}: {count} vectors for 3 documents"


def test_row_52_another_number_of_vectors_makes_no_index(
    run: Run, corpus: Path, save: Save, tmp_path: Path, tiny_encoder_dir: Path
) -> None:
    vectors = save(three_vectors()[:2])
    target = tmp_path / "new"
    outcome = run(
        "index", corpus, "-i", target, "--encoder", tiny_encoder_dir, "--embeddings", vectors
    )
    assert outcome.refusal(3) == f"{vectors}: 2 vectors for 3 documents"
    assert not target.exists()


def spoil(patch: pytest.MonkeyPatch, factors: Iterator[float]) -> list[int]:
    """Multiply what the encoder gives by the next factor; return the sizes of its batches."""
    honest = OnnxRuntime.run
    sizes: list[int] = []

    def run(self: OnnxRuntime, batch: Any, output: str) -> np.ndarray:
        sizes.append(len(batch.ids))
        return honest(self, batch, output) * np.float32(next(factors))

    patch.setattr(OnnxRuntime, "run", run)
    return sizes


def test_row_53_rows_that_came_out_as_nan_are_encoded_again_alone(
    run: Run, corpus: Path, built_index: Path, index_dir: Path, tmp_path: Path
) -> None:
    run("add", corpus, "-i", index_dir)
    _, expected = contents(index_dir)
    run("delete", "new-0", "new-1", "new-2", "-i", index_dir)
    with pytest.MonkeyPatch.context() as patch:
        sizes = spoil(patch, iter([np.nan, 1.0, 1.0, 1.0]))
        outcome = run("add", corpus, "-i", index_dir)
    assert (outcome.code, outcome.err, sizes) == (0, "", [3, 1, 1, 1])
    _, hits = contents(index_dir)
    assert [hit.id for hit in hits] == [hit.id for hit in expected]
    assert [hit.score for hit in hits] == pytest.approx([hit.score for hit in expected], abs=1e-6)


def test_row_53_a_document_without_a_finite_vector_is_named(
    run: Run, corpus: Path, index_dir: Path
) -> None:
    before = contents(index_dir)
    with pytest.MonkeyPatch.context() as patch:
        spoil(patch, iter([np.nan, 1.0, np.nan]))
        outcome = run("add", corpus, "-i", index_dir)
    assert outcome.refusal(7) == "document 'new-1': the encoder gives no finite, non-zero vector"
    assert contents(index_dir) == before
