from __future__ import annotations

import json
import multiprocessing
import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import WORDS, write_tiny_encoder

from simsearch.encoder import Encoder, EncoderPool, EncodingCounts, UnreadableText
from simsearch.encoder import pool as pool_module
from simsearch.encoder.int8 import int8_directory, note_gate, write_int8
from simsearch.errors import EncoderError, InvalidData, InvalidInput
from simsearch.records import Document
from simsearch.search_index import SearchIndex

RNG = np.random.default_rng(0)
TEXTS = [f"{' '.join(RNG.choice(WORDS, size=RNG.integers(1, 40)))} {n}" for n in range(300)]


@pytest.fixture(scope="module")
def silent_encoder_dir(tmp_path_factory) -> Path:
    """Return a model directory whose tokenizer leaves nothing of the text "parcel"."""
    directory = write_tiny_encoder(tmp_path_factory.mktemp("models") / "silent")
    path = directory / "tokenizer.json"
    content = json.loads(path.read_text())
    content["post_processor"] = None  # no special tokens
    nothing = {"type": "Replace", "pattern": {"String": "parcel"}, "content": ""}
    content["normalizer"] = nothing
    path.write_text(json.dumps(content))
    return directory


@pytest.fixture(scope="module")
def pool(silent_encoder_dir) -> Iterator[EncoderPool]:
    with EncoderPool(silent_encoder_dir, devices=("cpu", "cpu")) as pool:
        yield pool


@pytest.fixture(scope="module")
def encoder(silent_encoder_dir) -> Encoder:
    return Encoder.load(silent_encoder_dir)


@pytest.fixture
def short_parts(monkeypatch):
    monkeypatch.setattr(pool_module, "_PART", 4)


@pytest.fixture
def short_lived(tiny_encoder_dir) -> Iterator[EncoderPool]:
    """Return a pool of its own for a test that breaks it."""
    with EncoderPool(tiny_encoder_dir, devices=("cpu", "cpu")) as pool:
        yield pool


def processes_of(pool: EncoderPool) -> list[int]:
    """Return the ids of the processes that the first texts make it start."""
    before = {process.pid for process in multiprocessing.active_children()}
    pool.encode_documents(["cat", "dog"])
    return [each.pid for each in multiprocessing.active_children() if each.pid not in before]


def test_a_pool_gives_the_vectors_of_its_encoder_in_order(pool, encoder):
    progress: list[int] = []
    vectors = pool.encode_documents(TEXTS, progress=progress.append)
    np.testing.assert_allclose(vectors, encoder.encode(TEXTS), atol=1e-6)
    assert vectors.dtype == np.float32
    assert progress == [150, 300]  # a short call is shared out evenly


def test_a_pool_stands_for_its_encoder(pool, encoder):
    assert (pool.name, pool.dim, pool.trained_dims) == (encoder.name, 32, ())
    assert pool.fingerprint == encoder.fingerprint
    np.testing.assert_array_equal(pool.encode_queries(["cat"]), encoder.encode_queries(["cat"]))


def test_a_generator_is_encoded_in_order_and_read_no_further_than_needed(
    pool, encoder, short_parts
):
    read = 0

    def texts() -> Iterator[str]:
        nonlocal read
        for text in TEXTS:
            read += 1
            yield text

    stream = pool.encode_stream(texts())
    first = next(stream)
    assert (len(first), read) == (4, 5 * 4)  # two parts for each of two processes, and the next
    np.testing.assert_allclose(np.vstack([first, *stream]), encoder.encode(TEXTS), atol=1e-5)
    assert read == 300


def test_a_stream_that_is_left_early_leaves_the_pool_usable(pool, encoder, short_parts):
    stream = pool.encode_stream(iter(TEXTS))
    next(stream)
    stream.close()
    np.testing.assert_allclose(
        pool.encode_documents(["cat", "dog"]), encoder.encode(["cat", "dog"]), atol=1e-6
    )


def test_no_texts_give_no_rows(pool):
    assert pool.encode_documents([]).shape == (0, 32)


def test_counts_of_all_processes_add_up(pool, encoder, short_parts):
    texts = [*TEXTS[:20], "zzz", "zzz", "cat " * 40]
    counts, expected = EncodingCounts(texts=100), EncodingCounts(texts=100)
    pool.encode_documents(texts, counts=counts)
    encoder.encode(texts, counts=expected)
    assert (counts.texts, counts.encoded, counts.all_unknown) == (123, 22, 1)
    assert counts.truncated == expected.truncated > 1
    assert (counts.tokens, counts.unknown_tokens) == (expected.tokens, expected.unknown_tokens)
    assert counts.computed - counts.padding == expected.computed - expected.padding


@pytest.mark.parametrize("given", [list, iter], ids=["list", "generator"])
def test_a_text_that_leaves_no_token_is_named_by_its_place_in_the_callers_list(
    pool, short_parts, given
):
    with pytest.raises(UnreadableText, match=r"^text 13 holds nothing") as caught:
        for _ in pool.encode_stream(given([*TEXTS[:13], "parcel", *TEXTS[14:40]])):
            pass
    assert caught.value.position == 13


@pytest.mark.parametrize("given", [list, iter], ids=["list", "generator"])
def test_what_is_no_text_is_named_by_its_place_in_the_callers_list(pool, short_parts, given):
    with pytest.raises(InvalidData, match=r"^text 13 is empty$"):
        for _ in pool.encode_stream(given([*TEXTS[:13], " ", *TEXTS[14:40]])):
            pass


def test_one_string_is_not_taken_for_several(pool):
    with pytest.raises(InvalidInput, match="several texts"):
        pool.encode_documents("cat")


def test_an_index_takes_a_pool_for_an_encoder(pool, encoder, tmp_path):
    documents = [Document(str(number), text) for number, text in enumerate(TEXTS[:20])]
    with SearchIndex.create(tmp_path / "index", encoder=pool) as index:
        report = index.add(documents)
        (hit,) = index.search(TEXTS[7], k=1)
    assert (report.added, hit.id) == (20, "7")
    assert hit.score == pytest.approx(1, abs=1e-6)
    with SearchIndex.open(tmp_path / "index") as index:  # by its own copy of the encoder
        assert index.encoder.fingerprint == encoder.fingerprint
        assert index.search(TEXTS[7], k=1)[0].id == "7"


def test_a_pool_without_a_device_is_refused(tiny_encoder_dir):
    with pytest.raises(InvalidInput, match="needs a device"):
        EncoderPool(tiny_encoder_dir, devices=())


def test_an_unknown_precision_is_refused_at_once(tiny_encoder_dir):
    with pytest.raises(InvalidInput, match="no precision 'fp64'"):
        EncoderPool(tiny_encoder_dir, devices=("cpu",), precision="fp64")


def test_an_encoder_that_is_nowhere_is_refused_at_once(tmp_path):
    with pytest.raises(EncoderError, match="there is no encoder directory at"):
        EncoderPool(tmp_path / "nowhere", devices=("cpu",))


def test_a_pool_in_int8_says_that_it_is_another_encoder(tiny_encoder_dir, tmp_path):
    model = shutil.copytree(tiny_encoder_dir, tmp_path / "model")
    Encoder.load(model).save(tmp_path / "own")
    export = tmp_path / "own" / "onnx"
    int8_directory(export).mkdir()
    write_int8(export, int8_directory(export))
    note_gate(int8_directory(export), {"passed": True})
    with EncoderPool(tmp_path / "own", devices=("cpu",), precision="int8") as pool:
        int8 = Encoder.load(tmp_path / "own", precision="int8")
        assert pool.fingerprint == int8.fingerprint != Encoder.load(model).fingerprint
        np.testing.assert_array_equal(pool.encode_queries(["cat"]), int8.encode(["cat"]))


def test_what_keeps_a_process_from_loading_is_said(tiny_encoder_dir, tmp_path, capfd):
    model = shutil.copytree(tiny_encoder_dir, tmp_path / "model")
    with EncoderPool(model, devices=("cpu",)) as pool:
        shutil.rmtree(model)  # the processes start when they are first needed
        with pytest.raises(EncoderError, match="there is no encoder directory at"):
            pool.encode_documents(["cat"])
    assert capfd.readouterr() == ("", "")


def test_a_killed_process_is_an_error_and_the_pool_can_be_closed(short_lived):
    victim, other = processes_of(short_lived)
    watched = os.pidfd_open(other)  # it may end any time after the first
    os.kill(victim, signal.SIGKILL)
    for _ in range(2):
        with pytest.raises(EncoderError, match="a process of the encoder pool has died"):
            short_lived.encode_documents(TEXTS)
    short_lived.close()
    short_lived.close()
    assert ended(watched)


def test_a_closed_pool_says_so(tiny_encoder_dir):
    pool = EncoderPool(tiny_encoder_dir, devices=("cpu",))
    pool.close()
    with pytest.raises(InvalidInput, match="the pool is closed"):
        pool.encode_documents(["cat"])


def ended(watched: int) -> bool:
    """Return whether a process, by its file descriptor, ends in the next minute."""
    try:
        return bool(select.select([watched], [], [], 60)[0])
    finally:
        os.close(watched)


# Prints the ids of its processes, which have nothing to do, and waits.
DRIVER = """
import multiprocessing, sys
from simsearch.encoder import EncoderPool

if __name__ == "__main__":
    try:
        with EncoderPool(sys.argv[1], devices=("cpu", "cpu")) as pool:
            pool.encode_documents(["cat", "dog"])
            print(*(each.pid for each in multiprocessing.active_children()), flush=True)
            sys.stdin.read()
    except KeyboardInterrupt:
        print("interrupted")
"""


@pytest.fixture
def program(tiny_encoder_dir, tmp_path) -> Iterator[subprocess.Popen[str]]:
    """Return a program, in a session of its own, that is about to make a pool."""
    (tmp_path / "driver.py").write_text(DRIVER)
    with subprocess.Popen(
        [sys.executable, str(tmp_path / "driver.py"), str(tiny_encoder_dir)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        yield process


def watch_processes_of(program: subprocess.Popen[str]) -> list[int]:
    """Return file descriptors of the processes of a program's pool, once they are there."""
    assert program.stdout is not None
    return [os.pidfd_open(int(each)) for each in program.stdout.readline().split()]


def test_no_process_is_left_of_a_program_that_was_killed(program):
    watched = watch_processes_of(program)
    program.kill()
    assert [ended(each) for each in watched] == [True, True]


def test_an_interrupt_ends_the_processes_without_a_word_of_theirs(program):
    watched = watch_processes_of(program)
    os.killpg(program.pid, signal.SIGINT)  # as the terminal does
    assert program.communicate() == ("interrupted\n", "")
    assert program.returncode == 0
    assert [ended(each) for each in watched] == [True, True]


# As a shell that runs a script starts what it puts in the background.
IGNORING = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


def test_a_program_that_ignores_interrupts_keeps_its_processes(tiny_encoder_dir, tmp_path):
    (tmp_path / "driver.py").write_text(DRIVER)
    with subprocess.Popen(
        [sys.executable, "-c", IGNORING, str(tmp_path / "driver.py"), str(tiny_encoder_dir)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        watched = watch_processes_of(process)
        os.killpg(process.pid, signal.SIGINT)
        assert select.select(watched, [], [], 0.5)[0] == []
        process.communicate()
    assert process.returncode == 0
    assert [ended(each) for each in watched] == [True, True]
