"""Commands that only need vectors pay for no training library."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import write_tiny_encoder

from simsearch.encoder import Encoder

SCRIPT = """
import sys
from simsearch.cli import main
code = main(sys.argv[1:])
print(code, *sys.modules, file=sys.stderr)
"""
HEAVY = {"torch", "transformers", "sentence_transformers", "sklearn", "pandas", "datasets"}
NUMERIC = {"numpy", "faiss", "onnxruntime", "tokenizers", "scipy"}


def imported(*arguments: str) -> set[str]:
    finished = subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments], capture_output=True, text=True, timeout=300
    )
    code, *modules = finished.stderr.splitlines()[-1].split()
    assert (finished.returncode, code) == (0, "0"), finished
    return set(modules)


@pytest.mark.parametrize("arguments", [["--help"], ["query", "--help"], ["finetune", "--help"]])
def test_help_imports_neither_training_nor_numeric_libraries(arguments: list[str]) -> None:
    assert imported(*arguments) & (HEAVY | NUMERIC) == set()


def test_a_query_imports_no_training_library(index_dir: Path) -> None:
    modules = imported("query", "my card", "-i", str(index_dir))
    assert modules & HEAVY == set()
    assert modules >= {"numpy", "faiss", "onnxruntime", "tokenizers"}


def test_an_index_by_an_encoder_that_no_run_made_imports_no_training_library(
    index_dir: Path, tmp_path: Path, tiny_encoder_dir: Path
) -> None:
    corpus = tmp_path / "corpus.csv"
    corpus.write_text("text\nmy card was swallowed\n")
    made = ["index", str(corpus), "-i", str(tmp_path / "new"), "--encoder", str(tiny_encoder_dir)]
    assert imported(*made) & HEAVY == set()
    other = write_tiny_encoder(tmp_path / "other", seed=1)
    Encoder.load(other)  # exports it
    again = ["reindex", str(tmp_path / "new"), "--encoder", str(other)]
    assert imported(*again) & HEAVY == set()
