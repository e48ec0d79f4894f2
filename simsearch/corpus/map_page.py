"""A map as one HTML page that needs nothing else: no network, no library.

Whatever a document says reaches the page as JSON in which no character could end the element that
holds it, and is shown as text, never as markup. Beside that the page forbids itself to load
anything, and to run any script but its own.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
import re
from pathlib import Path
from typing import Any, Final

from simsearch.corpus.colouring import GREY, PALETTE, RAMP, Groups
from simsearch.corpus.map import CorpusMap

_PARTS: Final = Path(__file__).parent / "page"
_MARK: Final = re.compile(r"\{\{(\w+)\}\}")
# What could end a script element, or begin a comment in one. The rest is ASCII.
_ESCAPES: Final = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"}


def page_of(corpus_map: CorpusMap) -> str:
    """Return the map as a page, in ASCII."""
    style, script = (_part(name) for name in ("page.css", "page.js"))
    values = {
        "title": html.escape(corpus_map.title).encode("ascii", "xmlcharrefreplace").decode(),
        "style": style,
        "script": script,
        "style_hash": _hash(style),
        "script_hash": _hash(script),
        "data": script_json(_data(corpus_map)),
    }
    # In one pass: a mark in somebody's text stays what it is.
    return _MARK.sub(lambda found: values[found[1]], _part("page.html"))


def script_json(value: Any) -> str:
    """Return JSON, in ASCII, that can stand in a script element whatever strings it holds."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return re.sub("[<>&]", lambda found: _ESCAPES[found[0]], text)


def _part(name: str) -> str:
    return (_PARTS / name).read_text(encoding="ascii")


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode("ascii")).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


def _data(corpus_map: CorpusMap) -> dict[str, Any]:
    colouring = corpus_map.colouring
    facts: dict[str, Any] = {
        "title": corpus_map.title,
        "method": str(corpus_map.method),
        "documents": corpus_map.documents,
        "ids": corpus_map.ids,
        "texts": corpus_map.texts,
        "x": [round(float(x), 4) for x in corpus_map.places[:, 0]],
        "y": [round(float(y), 4) for y in corpus_map.places[:, 1]],
        "field": colouring.title,
        "grey": GREY,
    }
    if isinstance(colouring, Groups):
        coloured = PALETTE[: colouring.coloured]
        grey = [GREY] * (len(colouring.names) - colouring.coloured)
        return facts | {
            "names": colouring.names,
            "members": colouring.members.tolist(),
            "colours": [*coloured, *grey],
        }
    values = [None if math.isnan(value) else value for value in colouring.values.tolist()]
    return facts | {
        "values": values,
        "low": colouring.low,
        "high": colouring.high,
        "ramp": RAMP,
    }
