"""The rules of design and start-up, checked on the source itself."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "simsearch"
MODULES = sorted(ROOT.rglob("*.py"))

# Bottom to top; what stands in one layer does not import each other.
LAYERS = (
    {"conditions", "errors", "failpoints", "lazy", "recent", "records", "version", "wording"},
    {"files"},
    {"cache"},
    {"evaluation"},
    {"formats", "encoder", "storage", "ann"},
    {"heads", "query"},
    {"search_index"},
    {"corpus", "training"},
    {"demo"},
    {"cli"},
)
LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}

CONFINED = {
    "faiss": ("ann/",),
    "sqlite3": ("storage/",),
    "typer": ("cli/",),
    "rich": ("cli/",),
    "onnxruntime": ("encoder/",),
    "tokenizers": ("encoder/",),
    "huggingface_hub": ("encoder/",),
    "safetensors": ("encoder/",),
    "torch": (
        "encoder/adaptation.py",
        "encoder/torch_runtime.py",
        "encoder/export.py",
        "heads/tagger_inputs.py",
        "heads/tagger_module.py",
        "heads/tagger_training.py",
        "training/",
    ),
    "transformers": (
        "encoder/torch_runtime.py",
        "encoder/tokenizer_conversion.py",
        "training/",
    ),
    "openvino": ("encoder/openvino_runtime.py",),
    "sentence_transformers": ("training/",),
    "datasets": ("training/",),
    "peft": ("training/",),
    "matplotlib": ("corpus/map_picture.py", "heads/plots.py", "training/"),
    "openTSNE": ("corpus/layout.py",),
}
HEAVY = ("torch", "transformers", "sentence_transformers", "sklearn", "pandas", "datasets")
BANNED_MODULES = {"pickle", "joblib", "marshal", "shelve", "dill"}


def place(module: Path) -> str:
    return module.relative_to(ROOT).as_posix()


def room(module: Path) -> str:
    return place(module).split("/")[0].removesuffix(".py")


def imports(module: Path) -> Iterator[str]:
    """Yield every imported module, wherever in the file the import stands."""
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{place(module)}: relative import"
            yield str(node.module)


INSIDE = [module for module in MODULES if room(module) in LEVEL]


def test_every_room_has_its_place_in_the_layers():
    assert {room(module) for module in MODULES} - {"__init__", "__main__"} == set(LEVEL)


@pytest.mark.parametrize("module", INSIDE, ids=place)
def test_a_module_imports_only_from_layers_below_its_own(module):
    own = room(module)
    used = {name.split(".")[1] for name in imports(module) if name.startswith("simsearch.")}
    assert [other for other in sorted(used - {own}) if LEVEL[other] >= LEVEL[own]] == []


@pytest.mark.parametrize("module", MODULES, ids=place)
def test_a_library_is_imported_only_in_the_rooms_that_own_it(module):
    used = {name.split(".")[0] for name in imports(module)}
    strangers = [
        name
        for name in sorted(used & CONFINED.keys())
        if not place(module).startswith(CONFINED[name])
    ]
    assert strangers == []


@pytest.mark.parametrize("module", MODULES, ids=place)
def test_nothing_can_run_code_from_data(module):
    tree = ast.parse(module.read_text(encoding="utf-8"))
    called = {
        node.func.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert called & {"eval", "exec", "compile", "__import__"} == set()
    assert {name.split(".")[0] for name in imports(module)} & BANNED_MODULES == set()


@pytest.mark.parametrize("module", MODULES, ids=place)
def test_no_check_disappears_under_python_O(module):
    tree = ast.parse(module.read_text(encoding="utf-8"))
    assert [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Assert)] == []


@pytest.mark.parametrize(
    "module", [module for module in MODULES if room(module) != "cli"], ids=place
)
def test_only_the_command_line_prints(module):
    tree = ast.parse(module.read_text(encoding="utf-8"))
    printed = [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "print"
    ]
    assert printed == []


def test_public_names_are_sorted_and_all_there():
    import simsearch

    assert simsearch.__all__ == sorted(simsearch.__all__)
    for name in simsearch.__all__:
        assert getattr(simsearch, name) is not None


def loaded_after(code: str) -> set[str]:
    """Run code in a new interpreter; return which heavy packages it has imported."""
    script = f"{code}\nimport sys\nprint(*({{*{HEAVY}}} & sys.modules.keys()))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_importing_simsearch_and_its_command_line_imports_nothing_heavy():
    assert loaded_after("import simsearch, simsearch.cli") == set()


def test_the_import_check_sees_a_heavy_package():
    assert "sklearn" in loaded_after("import sklearn")


def test_reading_an_index_imports_nothing_heavy(tmp_path, tiny_encoder_dir):
    import simsearch

    encoder = simsearch.Encoder.load(tiny_encoder_dir)
    with simsearch.SearchIndex.create(tmp_path / "index", encoder=encoder) as index:
        index.add([simsearch.Document(id="cat", text="the cat sat on the mat")])
    code = (
        "import simsearch\n"
        f"with simsearch.SearchIndex.open({str(tmp_path / 'index')!r}) as index:\n"
        "    assert index.search('cat')[0].id == 'cat'\n"
        "    index.upsert([simsearch.Document(id='dog', text='dog')])\n"
        "    index.delete(['cat'])\n"
        "    index.info()"
    )
    assert loaded_after(code) == set()
