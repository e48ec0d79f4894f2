from __future__ import annotations

import dataclasses
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from conftest import WORDS, write_tokenizer

from simsearch.encoder import Encoder, EncodingCounts, UnencodableText, UnreadableText, forward_pass
from simsearch.encoder.forward_pass import ForwardPass, run_halving
from simsearch.encoder.runtime import OutOfMemory, TokenBatch, run_error
from simsearch.encoder.tokenization import TextTokenizer
from simsearch.errors import EncoderError, InvalidData, InvalidInput

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *dict.fromkeys(WORDS)]
DIM = len(VOCABULARY)


def bag(words: str) -> np.ndarray:
    """Return how often each token stands in `words`, at unit length."""
    row = np.zeros(DIM)
    for word in words.split():
        row[VOCABULARY.index(word)] += 1
    return row / np.linalg.norm(row)


class BagRuntime:
    """Counts tokens, so that `bag` is what should come out. Remembers the shape of each batch."""

    name = "bag"

    def __init__(self, *, streams: int = 1, token_budget: int = 12, fits: int = 10**6) -> None:
        self.streams = streams
        self.token_budget = token_budget
        self.fits = fits  # rows
        self.error: Exception = OutOfMemory("full")
        self.shapes: list[tuple[int, int]] = []

    def run(self, batch: TokenBatch, output: str) -> np.ndarray:
        self.shapes.append(batch.ids.shape)
        if len(batch.ids) > self.fits:
            raise self.error
        rows = np.zeros((len(batch.ids), DIM), dtype=np.float32)
        pooled = batch.mask if batch.pooled is None else batch.pooled
        for row, ids, kept in zip(rows, batch.ids, pooled, strict=True):
            np.add.at(row, ids[kept == 1], 1)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


class NoBirds(BagRuntime):
    """Gives NaN for a text with a bird in it."""

    def run(self, batch: TokenBatch, output: str) -> np.ndarray:
        rows = super().run(batch, output)
        rows[(batch.ids == VOCABULARY.index("bird")).any(axis=1)] = np.nan
        return rows


Make = Callable[..., ForwardPass]


@pytest.fixture
def make(tmp_path) -> Make:
    """Return a function that makes a forward pass of a runtime; its window is 32 tokens."""
    write_tokenizer(tmp_path)
    path = tmp_path / "tokenizer.json"

    def forward(runtime: BagRuntime, *, include_prompt: bool = True) -> ForwardPass:
        tokenizer = TextTokenizer(path, max_length=32, include_prompt=include_prompt)
        return ForwardPass(tokenizer, 0, DIM, runtime, lambda: runtime)

    return forward


@pytest.fixture
def short_chunks(monkeypatch):
    monkeypatch.setattr(forward_pass, "CHUNK", 4)


def embed(forward: ForwardPass, texts: Sequence[str], prompt: str = "", **watching) -> np.ndarray:
    return np.vstack(list(forward.embed_many(texts, prompt, **watching)))


def bags(texts: Sequence[str]) -> np.ndarray:
    return np.array([bag(f"[CLS] {text} [SEP]") for text in texts])


SIX = ["cat", "the cat sat on the mat", "dog", "my card", "red blue green", "bird sings"]


def test_embeddings_stand_in_the_order_of_the_texts_whatever_their_lengths(make, short_chunks):
    np.testing.assert_allclose(embed(make(BagRuntime()), SIX), bags(SIX), atol=1e-6)


def test_equal_texts_of_a_chunk_are_encoded_once(make):
    runtime = BagRuntime(token_budget=1000)
    texts = ["cat", "dog", "cat", "cat", "bird", "dog"]
    np.testing.assert_allclose(embed(make(runtime), texts), bags(texts), atol=1e-6)
    assert runtime.shapes == [(3, 3)]


def test_equal_texts_of_two_chunks_are_encoded_in_each(make, short_chunks):
    runtime = BagRuntime(token_budget=1000)
    texts = ["cat", "cat", "cat", "dog", "cat", "cat"]
    np.testing.assert_allclose(embed(make(runtime), texts), bags(texts), atol=1e-6)
    assert runtime.shapes == [(2, 3), (1, 3)]


def test_what_was_encoded_is_counted(make):
    runtime, counts = BagRuntime(token_budget=12), EncodingCounts()
    texts = ["cat", "the cat sat", "cat", "dog zzz", "🙂", "cat " * 40]
    embed(make(runtime), texts, counts=counts)
    # With [CLS] and [SEP] 32, 5, 4, 3 and 3 tokens: the first is alone, 5 and 4 are together.
    assert runtime.shapes == [(1, 32), (2, 5), (2, 3)]
    assert counts == EncodingCounts(
        texts=6,
        encoded=5,
        tokens=30 + 3 + 2 + 1 + 1,
        unknown_tokens=2,
        truncated=1,
        all_unknown=1,
        padding=1,
        computed=32 + 10 + 6,
    )
    assert counts.padding_share == 1 / 48
    assert counts.unknown_share == 2 / 37


def test_counts_of_several_calls_add_up(make):
    counts = EncodingCounts()
    for _ in range(2):
        embed(make(BagRuntime()), ["cat", "the cat"], counts=counts)
    assert (counts.texts, counts.encoded, counts.tokens, counts.padding) == (4, 4, 6, 2)


def test_shares_of_nothing_are_0():
    assert (EncodingCounts().padding_share, EncodingCounts().unknown_share) == (0, 0)


def test_progress_never_goes_back_and_ends_at_the_number_of_texts(make, short_chunks):
    seen: list[int] = []
    embed(make(BagRuntime(token_budget=3)), ["cat", "dog", "cat", *SIX], progress=seen.append)
    # Chunks of 2, 4 and 1 different texts, each of them a batch; at its end a chunk is counted.
    assert seen == [1, 2, 4, 5, 6, 7, 8, 8, 9, 9]


def test_no_texts_give_no_embeddings(make):
    assert list(make(BagRuntime()).embed_many([], "")) == []


@pytest.mark.parametrize("prompt", ["", "find "])
@pytest.mark.parametrize(
    ("texts", "position"),
    [
        (["bird"], 0),
        (["cat", "cat", "bird", "dog"], 2),
        (["cat", "cat", "cat", "cat", "cat", "dog", "dog", "my bird", "my bird"], 7),
    ],
)
def test_a_text_without_a_vector_is_named_by_its_place_in_the_callers_list(
    make, short_chunks, texts, position, prompt
):
    with pytest.raises(UnencodableText, match=f"for text {position}$") as caught:
        embed(make(NoBirds()), texts, prompt)
    assert caught.value.position == position


def test_a_text_that_leaves_no_token_is_named_by_its_place_in_the_callers_list(
    make, tmp_path, short_chunks
):
    path = tmp_path / "tokenizer.json"
    content = json.loads(path.read_text())
    content["post_processor"] = None  # no special tokens
    content["normalizer"] = {"type": "Replace", "pattern": {"String": "cat"}, "content": ""}
    path.write_text(json.dumps(content))
    forward = dataclasses.replace(make(BagRuntime()), tokenizer=TextTokenizer(path, max_length=32))
    with pytest.raises(UnreadableText) as caught:
        embed(forward, ["dog", "dog", "dog", "dog", "dog", "dog", "cat"])
    assert caught.value.position == 6


@pytest.mark.parametrize(
    ("bad", "message"),
    [(" \n", "text 6 is empty"), (None, "text 6 is a NoneType, expected a string")],
)
def test_what_is_no_text_is_named_by_its_place_in_the_callers_list(
    make, short_chunks, bad, message
):
    texts = ["cat", "cat", "dog", "cat", "dog", "dog", bad, ""]
    with pytest.raises(InvalidData, match=f"^{message}$"):
        embed(make(BagRuntime()), texts)


@pytest.mark.parametrize(
    "method", ["encode", "encode_documents", "encode_queries", "encode_tokens", "hidden_states"]
)
def test_one_string_is_not_taken_for_several(tiny_encoder_dir, method):
    with pytest.raises(InvalidInput, match=r"several texts, got one string \(pass \[text\]\)"):
        getattr(Encoder.load(tiny_encoder_dir), method)("cat")


def test_a_stream_of_one_string_is_refused_before_it_is_read(tiny_encoder_dir):
    with pytest.raises(InvalidInput, match="several texts"):
        Encoder.load(tiny_encoder_dir).encode_stream("cat")


def test_a_prompt_that_is_left_out_of_pooling_is_no_part_of_the_embedding(make):
    included = embed(make(BagRuntime()), ["cat", "my dog"], "find ")
    left_out = embed(make(BagRuntime(), include_prompt=False), ["cat", "my dog"], "find ")
    np.testing.assert_allclose(
        included, [bag("[CLS] [UNK] cat [SEP]"), bag("[CLS] [UNK] my dog [SEP]")], atol=1e-6
    )
    np.testing.assert_allclose(left_out, [bag("cat [SEP]"), bag("my dog [SEP]")], atol=1e-6)


class Meeting(BagRuntime):
    """Three batches go on only when they are computed at the same time."""

    def __init__(self) -> None:
        super().__init__(streams=3, token_budget=3)
        self.barrier = threading.Barrier(3, timeout=60)
        self.threads: set[int] = set()

    def run(self, batch: TokenBatch, output: str) -> np.ndarray:
        self.barrier.wait()
        self.threads.add(threading.get_ident())
        return super().run(batch, output)


def test_streams_compute_at_the_same_time_what_one_computes_in_turn(make):
    before = threading.enumerate()
    runtime = Meeting()
    rows = embed(make(runtime), SIX)
    np.testing.assert_array_equal(rows, embed(make(BagRuntime(token_budget=3)), SIX))
    assert len(runtime.threads) == 3
    assert threading.get_ident() not in runtime.threads
    assert threading.enumerate() == before


def test_a_stream_that_is_left_early_leaves_no_thread(make, short_chunks):
    before = threading.enumerate()
    stream = make(BagRuntime(streams=3, token_budget=3)).embed_many(SIX, "")
    assert next(stream).shape == (4, DIM)
    assert threading.enumerate() == before
    stream.close()
    assert threading.enumerate() == before


def test_an_error_in_one_of_several_streams_surfaces_and_ends_the_others(make, monkeypatch):
    cancelled = threading.Event()

    class Pool(ThreadPoolExecutor):
        def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
            super().shutdown(wait=False, cancel_futures=cancel_futures)
            cancelled.set()
            super().shutdown(wait=wait)

    class Failing(BagRuntime):
        def run(self, batch: TokenBatch, output: str) -> np.ndarray:
            self.shapes.append(batch.ids.shape)
            if batch.ids.shape == (1, 8):  # the longest, so the first
                raise EncoderError("broken")
            cancelled.wait(60)
            return np.ones((len(batch.ids), DIM), dtype=np.float32)

    monkeypatch.setattr(forward_pass, "ThreadPoolExecutor", Pool)
    before = threading.enumerate()
    runtime = Failing(streams=2, token_budget=3)
    with pytest.raises(EncoderError, match="broken"):
        embed(make(runtime), SIX)
    assert len(runtime.shapes) <= 3  # not all six: the failed one, and one or two begun beside it
    assert threading.enumerate() == before


def test_where_no_thread_can_be_started_one_stream_does_the_work(make, monkeypatch):
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    rows = embed(make(BagRuntime(streams=3, token_budget=3)), SIX)
    np.testing.assert_allclose(rows, bags(SIX), atol=1e-6)


def token_batch(texts: Sequence[str], *, pooled: bool = False) -> TokenBatch:
    """Return a batch of texts of equal length; with `pooled` the first token does not count."""
    ids = np.array([[VOCABULARY.index(word) for word in text.split()] for text in texts])
    left_out = np.ones_like(ids)
    left_out[:, 0] = 0
    return TokenBatch(ids, np.ones_like(ids), left_out if pooled else None)


SEVEN = ["cat dog", "dog bird", "cat cat", "my card", "red blue", "blue red", "the cat"]


@pytest.mark.parametrize("error", [OutOfMemory("full"), MemoryError()], ids=["ours", "python's"])
def test_a_batch_that_does_not_fit_is_run_in_halves(error):
    runtime = BagRuntime(fits=2)
    runtime.error = error
    rows = run_halving(runtime, token_batch(SEVEN), "sentence_embedding")
    np.testing.assert_allclose(rows, [bag(text) for text in SEVEN], atol=1e-6)
    assert [rows for rows, _ in runtime.shapes] == [7, 3, 1, 2, 4, 2, 2]


def test_what_is_left_out_of_pooling_is_halved_with_the_batch():
    rows = run_halving(BagRuntime(fits=2), token_batch(SEVEN, pooled=True), "sentence_embedding")
    np.testing.assert_allclose(rows, [bag(text.split()[1]) for text in SEVEN], atol=1e-6)


@pytest.mark.parametrize("error", [OutOfMemory("full"), MemoryError()], ids=["ours", "python's"])
def test_where_not_even_one_text_fits_its_length_is_named(error):
    runtime = BagRuntime(fits=0)
    runtime.error = error
    with pytest.raises(OutOfMemory, match="not even one text of 2 tokens fits"):
        run_halving(runtime, token_batch(SEVEN), "sentence_embedding")
    assert [rows for rows, _ in runtime.shapes] == [7, 3, 1]


def test_another_failure_is_not_tried_again_in_halves():
    runtime = BagRuntime(fits=2)
    runtime.error = EncoderError("broken")
    with pytest.raises(EncoderError, match="broken"):
        run_halving(runtime, token_batch(SEVEN), "sentence_embedding")
    assert len(runtime.shapes) == 1


@pytest.mark.parametrize("streams", [1, 3])
def test_texts_that_fit_only_in_halves_get_their_own_vectors(make, streams):
    rows = embed(make(BagRuntime(streams=streams, token_budget=24, fits=1)), SIX)
    np.testing.assert_allclose(rows, bags(SIX), atol=1e-6)


# As they were raised under a limit of the address space (ONNX Runtime 1.32, OpenVINO 2026.4,
# torch 2.13); of a GPU as torch's own source has them.
@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError(
            "[ONNXRuntimeError] : 1 : FAIL : Non-zero status code returned while running Add node. "
            "Status Message: bfc_arena.cc:360 void* onnxruntime::BFCArena::AllocateRawInternal("
            "size_t, bool, onnxruntime::Stream*) Failed to allocate memory for requested buffer of "
            "size 409600000"
        ),
        RuntimeError("[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : std::bad_alloc"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate "
            "memory: you tried to allocate 409600000 bytes. Error code 12 (Cannot allocate memory)"
        ),
        RuntimeError(
            "Exception from src/core/src/runtime/tensor.cpp:89:\n"
            "Exception from src/core/src/runtime/allocator.cpp:79:\nstd::bad_alloc\n"
        ),
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total ..."),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_what_runtimes_say_when_memory_is_full_is_an_out_of_memory(error):
    found = run_error(error, token_batch(SEVEN))
    assert type(found) is OutOfMemory
    assert str(found).startswith("out of memory on a batch of (7, 2): ")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("indices element out of data bounds, idx=99 must be within", "that the encoder does not"),
        ("index out of range in self", "that the encoder does not have: index out of range"),
        ("Invalid rank for input: input_ids", r"failed on a batch of \(7, 2\): Invalid rank"),
    ],
)
def test_any_other_failure_is_no_out_of_memory(text, message):
    found = run_error(RuntimeError(text), token_batch(SEVEN))
    assert type(found) is EncoderError
    with pytest.raises(EncoderError, match=message):
        raise found


def mixes(seed: int) -> Iterator[list[str]]:
    """Yield a hundred texts of 1 to 50 words in three orders."""
    rng = np.random.default_rng(seed)
    texts = [" ".join(rng.choice(WORDS, size=rng.integers(1, 51))) for _ in range(100)]
    for _ in range(3):
        yield [texts[position] for position in rng.permutation(100)]


@pytest.mark.parametrize("streams", [1, 3])
@pytest.mark.parametrize("runtime", ["onnx", "torch"])
def test_a_text_has_the_same_vector_in_any_batch(tiny_encoder_dir, monkeypatch, runtime, streams):
    alone = Encoder.load(tiny_encoder_dir)
    monkeypatch.setenv("OMP_NUM_THREADS", str(streams))
    encoder = Encoder.load(tiny_encoder_dir, runtime=runtime)
    forward = dataclasses.replace(encoder._exact, bulk_tokens=0)
    assert forward.bulk().streams == (streams if runtime == "onnx" else 1)
    expected: dict[str, np.ndarray] = {}
    for seed in range(2):
        for texts in mixes(seed):
            for text in texts:
                expected.setdefault(text, alone.encode([text])[0])
            rows = embed(forward, texts)
            np.testing.assert_allclose(rows, [expected[text] for text in texts], atol=1e-5)
