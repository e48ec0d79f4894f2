"""Vectors are read without pickle, refused by row, and come out unit length."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from simsearch.errors import InvalidData, InvalidInput, NotFound, SystemFailure
from simsearch.formats import check_vectors, read_vectors

Write = Callable[[str, str | bytes], Path]
Array = npt.NDArray[Any]

ROWS = [[1.0, 2.0, 3.0], [-4.0, 0.5, 0.25]]


@pytest.fixture
def save(tmp_path: Path) -> Callable[[Array], Path]:
    def save_array(array: Array) -> Path:
        np.save(tmp_path / "v.npy", array)
        return tmp_path / "v.npy"

    return save_array


def npy(header: str, body: bytes = b"") -> bytes:
    """A .npy file of version 1.0 with this header, true or not."""
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + body


class TestReadVectors:
    @pytest.mark.parametrize(
        "array",
        [
            np.array(ROWS, dtype="<f4"),
            np.array(ROWS, dtype=">f4"),
            np.array(ROWS, dtype="<f8"),
            np.array(ROWS, dtype=">f8"),
            np.array(ROWS, dtype="<f2"),
            np.array(ROWS, dtype="<f4", order="F"),
            np.array(ROWS, dtype=">f8", order="F"),
        ],
    )
    def test_floating_point_of_every_kind_becomes_float32(
        self, save: Callable[[Array], Path], array: Array
    ) -> None:
        vectors = read_vectors(save(array))
        assert vectors.tolist() == ROWS
        assert vectors.dtype == np.dtype(np.float32)
        assert vectors.dtype.isnative
        assert vectors.flags.c_contiguous
        assert type(vectors) is np.ndarray

    def test_more_rows_than_a_block_come_in_order(self, save: Callable[[Array], Path]) -> None:
        array = np.arange(20_000, dtype=np.float64).reshape(10_000, 2)
        np.testing.assert_array_equal(read_vectors(save(array)), array)

    def test_one_dimension_names_what_is_expected(self, save: Callable[[Array], Path]) -> None:
        with pytest.raises(InvalidData, match=r"expected shape \(n, dim\), got \(384,\)") as caught:
            read_vectors(save(np.ones(384)))
        assert caught.value.exit_code == 3

    def test_three_dimensions_are_refused(self, save: Callable[[Array], Path]) -> None:
        with pytest.raises(InvalidData, match=r"got \(2, 3, 4\)"):
            read_vectors(save(np.ones((2, 3, 4))))

    @pytest.mark.parametrize("shape", [(0, 4), (4, 0)])
    def test_no_vectors_are_refused(
        self, save: Callable[[Array], Path], shape: tuple[int, int]
    ) -> None:
        with pytest.raises(InvalidData, match="holds 0 vectors"):
            read_vectors(save(np.ones(shape)))

    @pytest.mark.parametrize("dtype", ["int64", "uint8", "bool", "complex64", "<U3"])
    def test_other_types_are_refused(self, save: Callable[[Array], Path], dtype: str) -> None:
        message = rf"v\.npy: expected floating point numbers, got {dtype}"
        with pytest.raises(InvalidData, match=message):
            read_vectors(save(np.ones((2, 2)).astype(dtype)))

    def test_objects_are_never_unpickled(self, tmp_path: Path) -> None:
        np.save(tmp_path / "v.npy", np.array([[Bomb()]], dtype=object), allow_pickle=True)
        with pytest.raises(InvalidData, match=r"v\.npy: not a readable .npy file of numbers"):
            read_vectors(tmp_path / "v.npy")

    def test_a_pickle_called_npy_is_refused(self, write: Write) -> None:
        with pytest.raises(InvalidData, match=r"v\.npy: not a \.npy file"):
            read_vectors(write("v.npy", pickle.dumps(Bomb())))

    @pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"[1, 2]", b"\x93NUM"])
    def test_what_is_no_npy_file_is_refused(self, write: Write, content: bytes) -> None:
        with pytest.raises(InvalidData, match=r"v\.npy: not a \.npy file \(save one array"):
            read_vectors(write("v.npy", content))

    @pytest.mark.parametrize("kept", [6, 8, 50, 128, 140])
    def test_a_truncated_file_is_refused(self, save: Callable[[Array], Path], kept: int) -> None:
        path = save(np.ones((2, 3), dtype=np.float32))
        path.write_bytes(path.read_bytes()[:kept])
        with pytest.raises(InvalidData, match=r"v\.npy: not a readable \.npy file of numbers"):
            read_vectors(path)

    @pytest.mark.parametrize(
        "header",
        [
            "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 384)}",
            f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({2**63 - 1}, {2**63 - 1})}}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 4)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': ('1', 4)}",
            "{'descr': 'x', 'fortran_order': False, 'shape': (1, 4)}",
            "{'descr': '<f4', ",
            "(" * 9000,
            "-" * 9000 + "1",
            "__import__('os')",
            "9" * 5000,
        ],
    )
    def test_a_hostile_header_is_refused(self, write: Write, header: str) -> None:
        with pytest.raises(InvalidData, match=r"v\.npy: not a readable \.npy file of numbers"):
            read_vectors(write("v.npy", npy(header, b"\0" * 64)))

    @pytest.mark.parametrize("row", [0, 4095, 4096, 4999])
    def test_a_number_too_large_for_float32_is_named_by_row(
        self, save: Callable[[Array], Path], row: int
    ) -> None:
        array = np.ones((5000, 2))
        array[row, 1] = -1e39
        message = rf"v\.npy: row {row} \(counted from 0\) is too large for float32"
        with pytest.raises(InvalidData, match=message):
            read_vectors(save(array))

    def test_infinity_in_the_file_is_left_to_the_check(self, save: Callable[[Array], Path]) -> None:
        vectors = read_vectors(save(np.array([[1.0, np.inf], [np.nan, 0.0]])))
        np.testing.assert_array_equal(vectors, [[1.0, np.inf], [np.nan, 0.0]])

    def test_what_is_no_file_is_refused_as_elsewhere(self, tmp_path: Path) -> None:
        with pytest.raises(NotFound, match="no such file"):
            read_vectors(tmp_path / "none.npy")
        with pytest.raises(InvalidInput, match="is a directory"):
            read_vectors(tmp_path)
        with pytest.raises(InvalidInput, match="cannot be read from stdin"):
            read_vectors("-")

    def test_a_file_that_may_not_be_opened_is_a_failure_of_the_system(
        self, save: Callable[[Array], Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: object) -> None:
            raise PermissionError(13, "Permission denied")

        path = save(np.ones((2, 2)))
        monkeypatch.setattr("builtins.open", refuse)
        with pytest.raises(SystemFailure, match=r"v\.npy: Permission denied"):
            read_vectors(path)


class Bomb:
    """Fails the test that unpickles it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return pytest.fail, ("a pickle was loaded",)


class TestCheckVectors:
    def test_rows_come_out_unit_length(self) -> None:
        vectors = np.array([[3.0, 4.0], [0.0, -2.0]], dtype=np.float32)
        unit = check_vectors(vectors, rows=2, dim=2)
        np.testing.assert_allclose(unit, [[0.6, 0.8], [0.0, -1.0]], rtol=1e-7)
        assert unit.dtype == np.dtype(np.float32)
        assert vectors.tolist() == [[3.0, 4.0], [0.0, -2.0]]

    def test_many_rows_agree_with_float64(self) -> None:
        vectors = np.random.default_rng(1).normal(size=(9000, 5)).astype(np.float32)
        wide = vectors.astype(np.float64)
        expected = wide / np.sqrt((wide**2).sum(axis=1, keepdims=True))
        np.testing.assert_allclose(check_vectors(vectors, rows=9000, dim=5), expected, rtol=1e-6)

    def test_too_many_vectors_are_counted(self) -> None:
        with pytest.raises(
            InvalidData, match=r"^vectors: 512 vectors for 500 documents$"
        ) as caught:
            check_vectors(np.ones((512, 4)), rows=500, dim=4)
        assert caught.value.exit_code == 3

    def test_the_number_of_rows_may_be_unknown(self) -> None:
        assert check_vectors(np.ones((7, 4)), rows=None, dim=4).tolist() == [[0.5] * 4] * 7

    def test_a_wrong_dimension_is_named(self) -> None:
        with pytest.raises(InvalidData, match="expected dim 384, got 768"):
            check_vectors(np.ones((2, 768)), rows=2, dim=384)

    @pytest.mark.parametrize(
        ("value", "problem"),
        [
            (np.nan, "holds NaN"),
            (np.inf, "holds infinity"),
            (-np.inf, "holds infinity"),
        ],
    )
    @pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
    def test_values_that_are_no_numbers_are_named_by_row(
        self, value: float, problem: str, dtype: type
    ) -> None:
        vectors: Array = np.ones((5000, 3), dtype=dtype)
        vectors[[4321, 4999], [2, 0]] = value
        with pytest.raises(InvalidData, match=rf"row 4321 \(counted from 0\) {problem}"):
            check_vectors(vectors, rows=5000, dim=3)

    def test_a_zero_row_is_named(self) -> None:
        vectors = np.ones((10, 3), dtype=np.float32)
        vectors[3] = [0.0, -0.0, 0.0]
        with pytest.raises(InvalidData, match=r"row 3 \(counted from 0\) is zero"):
            check_vectors(vectors, rows=10, dim=3)

    @pytest.mark.parametrize("size", [1e38, 3.4e38, 1e-38, 1e-45])
    def test_sizes_at_the_ends_of_float32_are_made_unit_length(self, size: float) -> None:
        vectors = np.full((2, 4), size, dtype=np.float32)
        assert check_vectors(vectors, rows=2, dim=4).tolist() == [[0.5] * 4] * 2

    @pytest.mark.parametrize("size", [1e300, 1e-300, 5e-324])
    def test_sizes_at_the_ends_of_float64_are_made_unit_length(self, size: float) -> None:
        assert check_vectors(np.full((1, 4), size), rows=1, dim=4).tolist() == [[0.5] * 4]

    @pytest.mark.parametrize(
        ("vectors", "message"),
        [
            (np.ones(4), r"expected shape \(n, dim\), got \(4,\)"),
            (np.ones((2, 2), dtype=np.int32), "expected floating point numbers, got int32"),
            (np.ones((0, 4)), "holds 0 vectors"),
        ],
    )
    def test_arrays_that_are_no_vectors_are_refused(self, vectors: Array, message: str) -> None:
        with pytest.raises(InvalidData, match=message):
            check_vectors(vectors, rows=None, dim=4)
