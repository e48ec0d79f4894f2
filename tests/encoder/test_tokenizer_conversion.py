"""Encoders with a vocabulary and no tokenizer.json: converted once, kept in the user's cache."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from encoder_families import FAMILIES, TEXTS

from simsearch.encoder import Encoder
from simsearch.errors import EncoderError, SystemFailure
from simsearch.records import Document
from simsearch.search_index import SearchIndex

ANSWER_WITHOUT_TRANSFORMERS = """
import sys

for name in ("torch", "transformers", "sentence_transformers"):
    sys.modules[name] = None  # an import of it fails

from simsearch.search_index import SearchIndex

with SearchIndex.open(sys.argv[1]) as index:
    print(index.search(sys.argv[2], k=1)[0].id)
"""


def with_vocabulary_only(family, directory):
    """Write a model with the files that its tokenizer had before there was tokenizer.json."""
    FAMILIES[family].write(directory)
    fast = directory / "tokenizer.json"
    model = json.loads(fast.read_text())["model"]
    by_number = sorted(model["vocab"], key=model["vocab"].get)
    merges = [
        merge if isinstance(merge, str) else " ".join(merge) for merge in model.get("merges", [])
    ]
    old = {
        "WordPiece": {"vocab.txt": "".join(f"{token}\n" for token in by_number)},
        "BPE": {
            "vocab.json": json.dumps(model["vocab"]),
            "merges.txt": "#version: 0.2\n" + "".join(f"{merge}\n" for merge in merges),
        },
    }
    fast.unlink()
    for name, content in old[model["type"]].items():
        (directory / name).write_text(content, encoding="utf-8")
    return directory


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    """A BERT with vocab.txt, which no test may write to."""
    return with_vocabulary_only("bert", tmp_path_factory.mktemp("models") / "bert")


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SIMSEARCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize("name", ["bert", "distilbert", "gpt2", "roberta"])
def test_a_vocabulary_alone_encodes_like_the_tokenizer_that_was_made_of_it(name, tmp_path):
    FAMILIES[name].write(tmp_path / "fast")
    fast = Encoder.load(tmp_path / "fast", runtime="torch")
    slow = Encoder.load(with_vocabulary_only(name, tmp_path / "slow"), runtime="torch")
    np.testing.assert_array_equal(slow.encode(TEXTS), fast.encode(TEXTS))
    assert slow.fingerprint == fast.fingerprint


def test_a_vocabulary_within_a_transformer_folder_is_found(tmp_path):
    FAMILIES["old-transformer-folder"].write(tmp_path / "model")
    expected = Encoder.load(tmp_path / "model", runtime="torch").encode(TEXTS)
    folder = tmp_path / "model" / "0_Transformer"
    vocabulary = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    (folder / "tokenizer.json").unlink()
    lines = (f"{token}\n" for token in sorted(vocabulary, key=vocabulary.get))
    (folder / "vocab.txt").write_text("".join(lines), encoding="utf-8")
    found = Encoder.load(tmp_path / "model", runtime="torch").encode(TEXTS)
    np.testing.assert_array_equal(found, expected)


def test_it_is_converted_once_and_by_the_content_of_its_files(
    bert, own_cache, tmp_path, monkeypatch
):
    from transformers import AutoTokenizer

    asked = []
    convert = AutoTokenizer.from_pretrained

    def counted(*arguments, **settings):
        asked.append(arguments)
        return convert(*arguments, **settings)

    monkeypatch.setattr(AutoTokenizer, "from_pretrained", counted)
    first = Encoder.load(bert, runtime="torch")
    copy = shutil.copytree(bert, tmp_path / "copy")
    assert Encoder.load(copy, runtime="torch").fingerprint == first.fingerprint
    assert len(asked) == 1
    assert len(list(own_cache.glob("tokenizers/*/tokenizer.json"))) == 1

    settings = copy / "tokenizer_config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"do_lower_case": False}))
    cased = Encoder.load(copy, runtime="torch")
    assert len(asked) == 2
    assert cased.fingerprint != first.fingerprint
    same = first.encode(["my card"]) @ first.encode(["MY CARD"]).T
    assert same == pytest.approx(1)
    assert cased.encode(["my card"]) @ cased.encode(["MY CARD"]).T < 0.999


def test_nothing_is_written_into_the_model_directory(bert):
    before = {path: path.stat().st_mtime_ns for path in [bert, *bert.rglob("*")]}
    Encoder.load(bert).encode(["my card"])
    assert {path: path.stat().st_mtime_ns for path in [bert, *bert.rglob("*")]} == before


def test_a_saved_copy_has_a_tokenizer_that_needs_no_conversion(bert, tmp_path, monkeypatch):
    encoder = Encoder.load(bert)
    encoder.save(tmp_path / "saved")
    monkeypatch.setenv("SIMSEARCH_CACHE", str(tmp_path / "empty"))
    assert (tmp_path / "saved" / "tokenizer.json").is_file()
    saved = Encoder.load(tmp_path / "saved")
    assert saved.fingerprint == encoder.fingerprint
    assert not (tmp_path / "empty" / "tokenizers").exists()


def test_an_index_of_it_answers_without_transformers(bert, tmp_path):
    with SearchIndex.create(tmp_path / "index", encoder=Encoder.load(bert)) as index:
        index.add([Document("card", "my card was lost"), Document("cat", "the cat sat on the mat")])
    finished = subprocess.run(
        [sys.executable, "-c", ANSWER_WITHOUT_TRANSFORMERS, tmp_path / "index", "the cat sat on"],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, "cat\n", "")


def test_the_model_itself_is_loaded_without_transformers_the_second_time(bert):
    Encoder.load(bert)
    code = (
        "import sys; sys.modules['torch'] = sys.modules['transformers'] = None\n"
        "from simsearch.encoder import Encoder\n"
        "print(Encoder.load(sys.argv[1]).runtime)"
    )
    finished = subprocess.run(
        [sys.executable, "-c", code, str(bert)], capture_output=True, text=True, timeout=300
    )
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, "onnx\n", "")


@pytest.mark.parametrize(
    ("family", "name", "content"),
    [
        ("bert", "vocab.txt", b"\xff\xfe\x00"),
        ("bert", "vocab.txt", b""),
        ("roberta", "vocab.json", b"{"),
        ("roberta", "vocab.json", b"[1, 2]"),
        ("roberta", "merges.txt", b"#version: 0.2\nno such\n"),
    ],
)
def test_a_vocabulary_that_is_none_is_an_error_of_the_encoder(
    tmp_path, own_cache, family, name, content
):
    model = with_vocabulary_only(family, tmp_path / "model")
    (model / name).write_bytes(content)
    with pytest.raises(EncoderError):
        Encoder.load(model, runtime="torch").encode(["my card"])


def test_what_cannot_be_converted_is_an_error_that_names_the_directory(tmp_path, own_cache):
    model = with_vocabulary_only("bert", tmp_path / "model")
    (model / "vocab.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(EncoderError, match="its tokenizer cannot be converted") as caught:
        Encoder.load(model)
    assert str(caught.value).startswith(str(model))
    assert not (own_cache / "tokenizers").exists()


def test_a_sentencepiece_model_says_what_reading_it_needs(tmp_path, own_cache, monkeypatch):
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    FAMILIES["t5"].write(tmp_path / "model")
    (tmp_path / "model" / "tokenizer.json").unlink()
    (tmp_path / "model" / "spiece.model").write_bytes(b"pieces")
    with pytest.raises(EncoderError, match=r"needs `pip install sentencepiece`$"):
        Encoder.load(tmp_path / "model")


def test_without_a_vocabulary_the_missing_tokenizer_is_named(tmp_path):
    FAMILIES["bert"].write(tmp_path / "model")
    (tmp_path / "model" / "tokenizer.json").unlink()
    with pytest.raises(EncoderError, match=r"tokenizer\.json is missing, and there is no vocab"):
        Encoder.load(tmp_path / "model")


def test_a_cache_that_cannot_be_written_is_a_failure_of_the_system(bert, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("SIMSEARCH_CACHE", str(tmp_path / "file"))
    with pytest.raises(SystemFailure, match="Not a directory"):
        Encoder.load(bert)


def test_code_beside_a_vocabulary_is_not_run(tmp_path, own_cache):
    model = with_vocabulary_only("bert", tmp_path / "model")
    ran = tmp_path / "ran"
    (model / "tokenization_bert.py").write_text(f"open({str(ran)!r}, 'w')")
    settings = model / "tokenizer_config.json"
    changed = json.loads(settings.read_text()) | {"tokenizer_class": "tokenization_bert.Evil"}
    settings.write_text(json.dumps(changed))
    with pytest.raises(EncoderError):
        Encoder.load(model)
    assert not ran.exists()
