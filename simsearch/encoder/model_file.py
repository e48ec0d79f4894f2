"""`simsearch.json`: what simsearch knows of a model directory beyond its weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from simsearch.errors import EncoderError

MODEL_FORMAT = 1
MODEL_FILE = "simsearch.json"

# Every key there is; a null says that the model has none.
_EMPTY = {"objective": None, "pair_scorer": None, "calibration": None, "verdict": None}


def read_model_file(directory: Path) -> dict[str, Any]:
    """Return the content of `simsearch.json`, {} where a directory has none."""
    path = directory / MODEL_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise EncoderError(f"{path}: {error}") from error
    if not isinstance(content, dict) or content.get("format") != MODEL_FORMAT:
        raise EncoderError(f"{path}: expected format {MODEL_FORMAT} (made by another version)")
    return content


def write_model_file(directory: Path, content: dict[str, Any]) -> None:
    """Write `simsearch.json` into a model directory that is being made."""
    text = json.dumps({"format": MODEL_FORMAT, **_EMPTY, **content}, indent=2, ensure_ascii=False)
    (directory / MODEL_FILE).write_text(text + "\n", encoding="utf-8")
