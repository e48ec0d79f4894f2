from __future__ import annotations

import logging
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import WORDS

from simsearch.encoder import Encoder, UnencodableText, bulk
from simsearch.encoder.onnx_runtime import OnnxRuntime
from simsearch.encoder.openvino_runtime import openvino_is_installed
from simsearch.encoder.runtime import FloatArray, TokenBatch
from simsearch.errors import EncoderError
from simsearch.records import Document
from simsearch.search_index import SearchIndex

RNG = np.random.default_rng(0)
TEXTS = [" ".join(RNG.choice(WORDS, size=RNG.integers(1, 40))) for _ in range(200)]

needs_openvino = pytest.mark.skipif(
    not openvino_is_installed(), reason="OpenVINO is an optional extra (simsearch[openvino])"
)


@pytest.fixture
def float32(tiny_encoder_dir) -> Encoder:
    return Encoder.load(tiny_encoder_dir)


class FakeRuntime:
    """In the place of OpenVINO's: what ONNX Runtime gives, changed as a test wants it."""

    name = "fake"
    streams = 1
    token_budget = 512

    def __init__(self, graph: Path, change: Callable[[TokenBatch, FloatArray], FloatArray]) -> None:
        self.honest = OnnxRuntime(graph)
        self.change = change

    def run(self, batch: TokenBatch, output: str) -> FloatArray:
        return self.change(batch, self.honest.run(batch, output))


@pytest.fixture
def put_in(monkeypatch):
    """Return a function that puts a fake in the place of OpenVINO; it returns the fakes made."""

    def put(change: Callable[[TokenBatch, FloatArray], FloatArray]) -> list[FakeRuntime]:
        made: list[FakeRuntime] = []

        def make(graph: Path) -> FakeRuntime:
            made.append(FakeRuntime(graph, change))
            return made[-1]

        monkeypatch.setattr(bulk, "openvino_is_installed", lambda: True)
        monkeypatch.setattr(bulk, "OpenVinoRuntime", make)
        return made

    return put


def at_cosine(cosine: float) -> Callable[[TokenBatch, FloatArray], FloatArray]:
    """Return what turns every unit vector away from itself, to this cosine."""

    def turn(_: TokenBatch, rows: FloatArray) -> FloatArray:
        across = np.roll(rows, 1, axis=1)
        across -= (across * rows).sum(axis=1, keepdims=True) * rows
        across /= np.linalg.norm(across, axis=1, keepdims=True)
        return cosine * rows + np.float32(np.sqrt(1 - cosine**2)) * across

    return turn


def fail(_: TokenBatch, rows: FloatArray) -> FloatArray:
    raise EncoderError("this graph cannot be run:\nit has no end")


def warnings(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@needs_openvino
def test_openvino_encodes_documents_in_bf16_where_it_is_installed(
    tiny_encoder_dir, float32, caplog
):
    encoder = Encoder.load(tiny_encoder_dir, precision="bf16")
    cosines = (encoder.encode(TEXTS) * float32.encode(TEXTS)).sum(axis=1)
    assert encoder._documents.bulk().name == "openvino"
    assert cosines.min() >= 0.999
    assert warnings(caplog) == []


def test_torch_encodes_documents_in_bf16_where_openvino_is_not(
    tiny_encoder_dir, float32, caplog, monkeypatch
):
    monkeypatch.setattr(bulk, "openvino_is_installed", lambda: False)
    encoder = Encoder.load(tiny_encoder_dir, precision="bf16")
    documents, expected = encoder.encode(TEXTS), float32.encode(TEXTS)
    assert encoder._documents.bulk().name == "torch"
    assert (documents * expected).sum(axis=1).min() >= 0.999
    assert np.abs(documents - expected).max() > 1e-4  # in fp32 the runtimes differ by 1e-6
    np.testing.assert_allclose(np.linalg.norm(documents, axis=1), 1, atol=1e-6)
    assert warnings(caplog) == []


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_queries_are_encoded_in_fp32_at_any_precision(tiny_encoder_dir, float32, precision):
    encoder = Encoder.load(tiny_encoder_dir, precision=precision)
    np.testing.assert_array_equal(encoder.encode_queries(TEXTS), float32.encode_queries(TEXTS))
    assert encoder.fingerprint == float32.fingerprint
    assert encoder.precision == precision


def test_bf16_is_loaded_with_the_first_document_and_once(tiny_encoder_dir, put_in):
    made = put_in(at_cosine(0.9999))
    encoder = Encoder.load(tiny_encoder_dir, precision="bf16")
    encoder.encode_queries(["cat"])
    encoder.encode([])
    encoder.encode_stream(["cat"])
    assert made == []
    encoder.encode(["cat"])
    encoder.encode(["dog"])
    assert len(made) == 1


def test_bf16_is_kept_at_a_cosine_of_more_than_0_999(tiny_encoder_dir, float32, put_in, caplog):
    put_in(at_cosine(0.9995))
    documents = Encoder.load(tiny_encoder_dir, precision="bf16").encode(TEXTS)
    np.testing.assert_allclose((documents * float32.encode(TEXTS)).sum(axis=1), 0.9995, atol=1e-5)
    assert warnings(caplog) == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (at_cosine(0.9985), r"bf16 gives other embeddings .*\(cosine 0\.9985 to fp32, at least 0"),
        (at_cosine(-1.0), r"bf16 gives other embeddings .*\(cosine -1\.0000 to fp32"),
        (lambda batch, rows: rows * np.nan, r"bf16 gives other embeddings .*\(cosine nan to fp32"),
        (fail, r"no bf16 \(this graph cannot be run:\)"),
    ],
    ids=["turned", "opposite", "nan", "error"],
)
def test_where_bf16_is_not_as_good_documents_are_encoded_in_fp32_with_one_warning(
    tiny_encoder_dir, float32, put_in, caplog, change, reason
):
    put_in(change)
    encoder = Encoder.load(tiny_encoder_dir, precision="bf16")
    for _ in range(2):
        np.testing.assert_allclose(encoder.encode(TEXTS), float32.encode(TEXTS), atol=1e-6)
    (warning,) = warnings(caplog)
    assert re.fullmatch(rf"{reason}.*; documents are encoded in fp32", warning)


@pytest.mark.parametrize(
    "error",
    [EncoderError("bad graph"), ImportError("libtbb.so.12: no such file"), MemoryError()],
    ids=lambda error: type(error).__name__,
)
def test_a_bf16_runtime_that_cannot_be_loaded_is_a_warning(
    tiny_encoder_dir, float32, monkeypatch, caplog, error
):
    def make(graph: Path) -> None:
        raise error

    monkeypatch.setattr(bulk, "openvino_is_installed", lambda: True)
    monkeypatch.setattr(bulk, "OpenVinoRuntime", make)
    encoder = Encoder.load(tiny_encoder_dir, precision="bf16")
    np.testing.assert_allclose(encoder.encode(TEXTS), float32.encode(TEXTS), atol=1e-6)
    reason = str(error) or "MemoryError"
    assert warnings(caplog) == [f"no bf16 ({reason}); documents are encoded in fp32"]


def test_one_bad_text_among_the_tested_ones_is_enough_to_refuse_bf16(
    tiny_encoder_dir, float32, put_in, caplog
):
    def turn_the_last(batch: TokenBatch, rows: FloatArray) -> FloatArray:
        return np.vstack([rows[:-1], at_cosine(0.997)(batch, rows[-1:])])  # 0.9994 on average

    put_in(turn_the_last)
    encoder = Encoder.load(tiny_encoder_dir, precision="bf16")
    np.testing.assert_allclose(encoder.encode(["cat"]), float32.encode(["cat"]), atol=1e-6)
    assert len(warnings(caplog)) == 1


def nan_for_birds(batch: TokenBatch, rows: FloatArray) -> FloatArray:
    bird = 5 + list(dict.fromkeys(WORDS)).index("bird")  # five special tokens come first
    rows = rows.copy()
    rows[(batch.ids == bird).any(axis=1)] = np.nan
    return rows


def test_row_53_a_text_that_is_nan_in_bf16_is_encoded_in_fp32(tiny_encoder_dir, float32, put_in):
    put_in(nan_for_birds)
    texts = ["cat", "my bird", "dog"]
    documents = Encoder.load(tiny_encoder_dir, precision="bf16").encode(texts)
    np.testing.assert_allclose(documents, float32.encode(texts), atol=1e-6)


def test_row_53_a_text_that_is_nan_in_fp32_too_is_named(tiny_encoder_dir, put_in, monkeypatch):
    put_in(nan_for_birds)
    encoder = Encoder.load(tiny_encoder_dir, precision="bf16")
    encoder.encode(["cat"])  # bf16 has passed its test
    honest = OnnxRuntime.run
    monkeypatch.setattr(
        OnnxRuntime,
        "run",
        lambda self, batch, output: nan_for_birds(batch, honest(self, batch, output)),
    )
    with pytest.raises(UnencodableText) as caught:
        encoder.encode(["cat", "cat", "dog", "my bird"])
    assert caught.value.position == 3


@pytest.fixture
def export(float32, tmp_path) -> Path:
    """Return an export by itself, as an index keeps it."""
    float32.save_export(tmp_path / "encoder")
    return tmp_path / "encoder"


@needs_openvino
def test_an_export_alone_is_run_by_openvino(export, float32, caplog):
    encoder = Encoder.load(export, precision="bf16")
    cosines = (encoder.encode(TEXTS) * float32.encode(TEXTS)).sum(axis=1)
    assert encoder._documents.bulk().name == "openvino"
    assert cosines.min() >= 0.999
    assert warnings(caplog) == []


def test_an_export_alone_has_no_bf16_without_openvino(export, float32, caplog, monkeypatch):
    monkeypatch.setattr(bulk, "openvino_is_installed", lambda: False)
    encoder = Encoder.load(export, precision="bf16")
    np.testing.assert_array_equal(encoder.encode(TEXTS), float32.encode(TEXTS))
    assert warnings(caplog) == [
        "no bf16 (without the full model it needs OpenVINO (pip install 'simsearch[openvino]')); "
        "documents are encoded in fp32"
    ]


def test_an_index_opened_in_bf16_adds_in_bf16_and_searches_in_fp32(
    tmp_path, float32, put_in, tiny_encoder_dir
):
    path = tmp_path / "index"
    SearchIndex.create(path, encoder=tiny_encoder_dir).close()
    made = put_in(at_cosine(0.9995))
    with SearchIndex.open(path, precision="bf16") as index:
        index.add([Document("a", "my card")])
        (hit,) = index.search("my card")
    assert len(made) == 1
    assert hit.score == pytest.approx(0.9995, abs=1e-5)


def test_one_thread_needs_no_second_runtime_in_fp32(tiny_encoder_dir, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    encoder = Encoder.load(tiny_encoder_dir)
    assert encoder._documents.bulk() is encoder._documents.runtime


def test_in_fp32_a_stream_for_each_thread_begins_beyond_16k_tokens(tiny_encoder_dir, monkeypatch):
    used: list[int] = []
    honest = OnnxRuntime.run

    def run(self: OnnxRuntime, batch: TokenBatch, output: str) -> FloatArray:
        used.append(self.streams)
        return honest(self, batch, output)

    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.setattr(OnnxRuntime, "run", run)
    encoder = Encoder.load(tiny_encoder_dir)
    words = " ".join(WORDS[:29])  # 32 tokens with a number and the special ones
    encoder.encode([f"{words} {number}" for number in range(100, 612)])
    assert set(used) == {1}  # 512 x 32 tokens are no more than 16 Ki
    used.clear()
    encoder.encode([f"{words} {number}" for number in range(100, 613)])
    assert set(used) == {2}
    assert encoder._documents.bulk() is encoder._documents.bulk()
