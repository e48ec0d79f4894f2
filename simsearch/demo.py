"""The corpus that every Python has: the docstrings of the standard library it runs on."""

from __future__ import annotations

import ast
import importlib
import inspect
import random
import re
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from simsearch.records import Document, Pair

T = TypeVar("T")

# Tests, tools and code kept for old versions: their docstrings are not what people look for.
_SKIPPED = frozenset(
    {"__pycache__", "ensurepip", "idlelib", "lib2to3", "pydoc_data", "site-packages", "test"}
    | {"tests", "turtledemo", "dist-packages", "_pyrepl"}
)
_WORD_BORDER = re.compile(r"[._]+|(?<=[a-z0-9])(?=[A-Z])")
_SHORTEST_DOCSTRING = 20
_SHORTEST_REST = 40  # characters below which the rest of a docstring says nothing

QUESTIONS = (
    "join two paths",
    "parse a date string",
    "run a command and capture its output",
    "count how often each word occurs",
    "read a file compressed with gzip",
)


@dataclass(frozen=True, slots=True)
class Definition:
    """Something documented: `name` is its qualified name, `docstring` is cleaned."""

    name: str
    docstring: str

    @property
    def words(self) -> str:
        """The qualified name in words: `os.path.splitExt` is "os path split Ext"."""
        return " ".join(word for word in _WORD_BORDER.split(self.name) if word)


def standard_library() -> list[Definition]:
    """Return every documented module, class and function, by name.

    Python source is read, not imported; only modules compiled into the interpreter are imported,
    which runs no file.
    """
    found = definitions_under(Path(sysconfig.get_paths()["stdlib"]))
    for name in sorted(sys.builtin_module_names):
        for definition in _in_builtin(importlib.import_module(name)):
            found.setdefault(definition.name, definition)
    return [found[name] for name in sorted(found)]


def definitions_under(root: Path) -> dict[str, Definition]:
    """Return every documented module, class and function of a folder of Python source, by name.

    Names begin at the folder. Nothing is imported.
    """
    found: dict[str, Definition] = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        if not _SKIPPED.isdisjoint(parts):
            continue
        module = ".".join(part for part in parts if part != "__init__")
        for definition in _in_source(path, module):
            found.setdefault(definition.name, definition)
    return found


def demo_documents(definitions: list[Definition]) -> list[Document]:
    """Return one document per definition: its docstring under its name in words."""
    return [
        Document(
            id=definition.name,
            text=definition.docstring,
            title=definition.words,
            metadata={"module": definition.name.partition(".")[0]},
        )
        for definition in definitions
    ]


def demo_pairs(definitions: list[Definition]) -> list[Pair]:
    """Return what a docstring begins with, paired with the name in words and all that follows.

    Definitions that share either text with an earlier one are left out: the question would have
    two answers.
    """
    pairs: list[Pair] = []
    seen: set[str] = set()
    for definition in definitions:
        first, _, rest = definition.docstring.partition("\n\n")
        anchor = " ".join(first.split())
        rest = " ".join(rest.split())
        if len(anchor) < _SHORTEST_DOCSTRING or len(rest) < _SHORTEST_REST:
            continue
        if anchor in seen or rest in seen:
            continue
        seen |= {anchor, rest}
        pairs.append(Pair(anchor=anchor, positive=f"{definition.words} {rest}"))
    return pairs


def sample(items: list[T], size: int, *, seed: int) -> list[T]:
    """Return `size` items drawn at random, in the order given; all if there are fewer."""
    if len(items) <= size:
        return items
    chosen = set(random.Random(seed).sample(range(len(items)), size))
    return [item for row, item in enumerate(items) if row in chosen]


def _in_source(path: Path, module: str) -> Iterator[Definition]:
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, OSError):
        return  # a file that this interpreter itself could not import
    yield from _documented(tree, module)


def _documented(node: ast.AST, name: str) -> Iterator[Definition]:
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        docstring = ast.get_docstring(node) or ""
        if name and len(docstring) >= _SHORTEST_DOCSTRING:
            yield Definition(name, _clean(docstring))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            return  # what is defined inside a function cannot be looked up
    for child in ast.iter_child_nodes(node):
        inner = getattr(child, "name", "")
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            if not inner.startswith("_"):
                yield from _documented(child, f"{name}.{inner}")
        elif isinstance(child, ast.If | ast.Try | ast.With):
            yield from _documented(child, name)


def _in_builtin(module: ModuleType) -> Iterator[Definition]:
    name = module.__name__
    prefix = "" if name == "builtins" else f"{name}."
    for attribute, value in sorted(vars(module).items()):
        if attribute.startswith("_") or not (inspect.isclass(value) or inspect.isroutine(value)):
            continue
        yield from _with_docstring(prefix + attribute, value)
        if inspect.isclass(value):
            for inner, member in sorted(vars(value).items()):
                if not inner.startswith("_") and inspect.isroutine(member):
                    yield from _with_docstring(f"{prefix}{attribute}.{inner}", member)


def _with_docstring(name: str, value: object) -> Iterator[Definition]:
    docstring = inspect.getdoc(value) or ""
    if len(docstring) >= _SHORTEST_DOCSTRING:
        yield Definition(name, _clean(docstring))


def _clean(docstring: str) -> str:
    # A few docstrings contain NUL or form feeds on purpose; an index refuses NUL.
    return docstring.replace("\0", " ").replace("\f", " ").strip()
