"""What all tests share: no network, a cache of their own, a tiny encoder, a hashing encoder."""

from __future__ import annotations

import json
import os
import re
import signal
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from simsearch.records import Document, Passage

# Before any hub client is imported: an ordinary test never reaches for the network.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
# Where there is a GPU, too, tests compare with what the CPU computes.
os.environ["CUDA_VISIBLE_DEVICES"] = ""
# How long an example takes says something about the machine, and nothing about the code. Examples
# are the same in every run, so that a failure is of the change; SIMSEARCH_EXPLORE=1 draws others.
settings.register_profile(
    "simsearch",
    deadline=None,
    derandomize="SIMSEARCH_EXPLORE" not in os.environ,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("simsearch")

_VOCABULARY = """
a the my card was swallowed by machine cash bank money refund order parcel late lost where is how do
i it not arrived broken phone screen cat dog sat on mat bird sings red blue green pay bill account
open close password forgot reset email sent never came back please help
"""
WORDS = _VOCABULARY.split()


@pytest.fixture(scope="session", autouse=True)
def private_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep exports and digests of this test run away from the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        cache = tmp_path_factory.mktemp("cache")
        patch.setenv("SIMSEARCH_CACHE", str(cache))
        yield cache


@pytest.fixture(scope="session", autouse=True)
def interrupts() -> Iterator[None]:
    """Let Ctrl-C interrupt: a job in a shell's background, and its children, would ignore it."""
    inherited = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, inherited)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Return the folder of real data sets, or skip where there is none."""
    named = os.environ.get("SIMSEARCH_TEST_DATA")
    folder = Path(named) if named else Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"real data is not at {folder} (set SIMSEARCH_TEST_DATA)")
    return folder


class HashEncoder:
    """Bag of hashed words, unit length: texts that share words are similar. Needs no model.

    It sees whole texts; split, a passage is 8 words, of which it shares 2 with the one before.
    """

    name = "hash"
    dim = 256
    fingerprint = "hash-1"
    trained_dims = ()
    calibration = None
    pair_scorer = None

    def __init__(self) -> None:
        self.encoded: list[str] = []  # everything that was asked for

    def encode_documents(self, texts: Sequence[str], *, counts: object = None) -> np.ndarray:
        self.encoded += texts
        rows = np.zeros((len(texts), self.dim), dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            for word in text.lower().split():
                row[zlib.crc32(word.encode()) % self.dim] += 1
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    def encode_queries(self, texts: Sequence[str]) -> np.ndarray:
        return self.encode_documents(texts)

    def reads(self, text: str) -> bool:
        return True

    def split_documents(self, documents: Sequence[Document]) -> list[list[Passage]]:
        return [
            [
                Passage(start, stop, replace(document, text=document.text[start:stop]).content)
                for start, stop in _eight_words_each(document.text)
            ]
            for document in documents
        ]

    def save_export(self, directory: Path) -> None:
        directory.mkdir()


class OtherHashEncoder(HashEncoder):
    """The same of another fingerprint and dim: an encoder to change to."""

    name = "other"
    dim = 64
    fingerprint = "hash-2"


def _eight_words_each(text: str) -> list[tuple[int, int]]:
    words = [found.span() for found in re.finditer(r"\S+", text)]
    if len(words) <= 8:
        return [(0, len(text))]
    return [
        (words[n][0], words[min(n + 8, len(words)) - 1][1]) for n in range(0, len(words) - 2, 6)
    ]


@pytest.fixture
def hash_encoder() -> HashEncoder:
    return HashEncoder()


def write_tokenizer(path: Path, *, window: int = 128) -> None:
    """Write a word-level tokenizer over WORDS, with fixed padding and truncation set wrongly.

    The packaged default encoder has the same trap in its file.
    """
    from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
    from tokenizers.models import WordLevel

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = {word: number for number, word in enumerate([*special, *dict.fromkeys(WORDS)])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.add_special_tokens(special)
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])],
    )
    tokenizer.enable_truncation(5)
    tokenizer.enable_padding(length=9, pad_id=0, pad_token="[PAD]")
    tokenizer.save(str(path / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": window,
        "pad_token": "[PAD]",
        "unk_token": "[UNK]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "mask_token": "[MASK]",
    }
    (path / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")


def without_accents(model: Path) -> Path:
    """Let the tokenizer of a model directory leave out combining accents; return the directory."""
    path = model / "tokenizer.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    steps = [{"type": "NFD"}, {"type": "StripAccents"}, {"type": "Lowercase"}]
    content["normalizer"] = {"type": "Sequence", "normalizers": steps}
    path.write_text(json.dumps(content), encoding="utf-8")
    return model


def write_tiny_encoder(path: Path, *, seed: int = 0, window: int = 32) -> Path:
    """Write a random two-layer BERT as a sentence-transformers directory."""
    import torch
    from transformers import BertConfig, BertModel

    path.mkdir(parents=True)
    write_tokenizer(path)
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(set(WORDS)) + 5,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(path)
    modules = [
        ("", "sentence_transformers.models.Transformer"),
        ("1_Pooling", "sentence_transformers.models.Pooling"),
        ("2_Normalize", "sentence_transformers.models.Normalize"),  # a folder that is not there
    ]
    listing = [
        {"idx": number, "name": str(number), "path": folder, "type": kind}
        for number, (folder, kind) in enumerate(modules)
    ]
    (path / "modules.json").write_text(json.dumps(listing), encoding="utf-8")
    (path / "1_Pooling").mkdir()
    pooling = {"word_embedding_dimension": 32, "pooling_mode_mean_tokens": True}
    (path / "1_Pooling" / "config.json").write_text(json.dumps(pooling), encoding="utf-8")
    limits = {"max_seq_length": window, "do_lower_case": False}
    (path / "sentence_bert_config.json").write_text(json.dumps(limits), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def quick_exports() -> Iterator[None]:
    """Compare fewer texts when a tuned encoder is exported: its 200 are tested with encoders."""
    from simsearch.encoder import export

    whole = export.parity_texts()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "parity_texts", lambda: whole[:24])
        yield


@pytest.fixture
def quick_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put nothing on paper: of a run of the tiny encoder its pictures take a third of the time.

    What they show is tested with the report, and of one run in each file they are real.
    """
    from matplotlib.figure import Figure

    def save(_: Figure, path: Path, **options: object) -> None:
        path.write_bytes(b"\x89PNG")

    monkeypatch.setattr(Figure, "savefig", save)


@pytest.fixture(scope="session")
def tiny_encoder_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a model directory with a random two-layer BERT, dim 32, window 32, exported once."""
    from simsearch.encoder import Encoder

    directory = write_tiny_encoder(tmp_path_factory.mktemp("models") / "tiny")
    Encoder.load(directory)
    return directory
