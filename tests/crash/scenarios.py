"""What is done to an index while a fault happens, and what must be found afterwards.

A place is a directory with an index `i`, one of two generations `two`, a damaged one `damaged`, one
of an older format `old` and a backup `saved`. A scenario changes it; run again after a fault, it
comes to the same end.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from conftest import HashEncoder, OtherHashEncoder
from stores import raw

from simsearch.ann import Target
from simsearch.errors import AlreadyExists, EncoderMismatch, IncompatibleIndex, NotFound
from simsearch.files import replace_text
from simsearch.records import Document, Judgement
from simsearch.search_index import (
    SearchIndex,
    backup_index,
    build_generation,
    build_index,
    compact_index,
    plan_reindex,
    repair_index,
    restore_index,
    roll_back,
    upgrade_index,
    write_corpus,
)
from simsearch.search_index.generations import (
    building_place,
    moved_place,
    number_of,
    read_constants,
)
from simsearch.storage import DocumentStore

OLD = Path(__file__).parents[1] / "search_index" / "formats" / "v1"
INDEXES = ("i", "i/previous", "two", "two/previous", "damaged", "old", "saved", "new", "copy")


def documents(*names: str) -> list[Document]:
    return [Document(name, f"text of {name}", metadata={"name": name}) for name in names]


FIRST = documents(*(f"d{n}" for n in range(12)))


def prepare(place: Path) -> None:
    """Fill an empty directory."""
    with SearchIndex.create(place / "i", encoder=HashEncoder()) as index:
        index.add(FIRST)
        index.delete(["d0", "d1"])
        index.judge("what is d4", "d4")
        index.judge("what is d4", "d7", relevant=False)
    shutil.copytree(place / "i", place / "two")
    with build_generation(place / "two", encoder=OtherHashEncoder()):
        pass
    with SearchIndex.open(place / "two", encoder=OtherHashEncoder()) as index:
        index.add(documents("since"))
        index.judge("since when", "since")
    backup_index(place / "i", place / "saved")
    shutil.copytree(place / "i", place / "damaged")
    with raw(place / "damaged") as connection:
        connection.execute("UPDATE vector_blocks SET crc32 = 0")
    shutil.copytree(OLD, place / "old")
    (place / "file").write_text("old")


@contextlib.contextmanager
def opened(place: Path):
    with SearchIndex.open(place / "i", encoder=HashEncoder()) as index:
        yield index


def create(place: Path) -> None:
    with contextlib.suppress(AlreadyExists):
        SearchIndex.create(place / "new", encoder=HashEncoder()).close()


def build(place: Path) -> None:
    with (
        contextlib.suppress(AlreadyExists),
        build_index(place / "new", encoder=HashEncoder(), replace=False) as index,
    ):
        write_corpus(index.upsert, FIRST, total=len(FIRST))


def rebuild(place: Path) -> None:
    with build_index(place / "i", encoder=HashEncoder(), replace=True) as index:
        write_corpus(index.upsert, FIRST, total=len(FIRST))


def add(place: Path) -> None:
    with opened(place) as index:
        new = documents("n1", "n2", "n3")
        index.add([each for each in new if each.id not in index.known_ids(["n1", "n2", "n3"])])


def upsert(place: Path) -> None:
    with opened(place) as index:
        changed = [Document("d5", "changed"), Document("d6", "changed too"), *documents("n1")]
        index.upsert([*changed, replace(FIRST[8], metadata={"read": True})])


def renew_terms(place: Path) -> None:
    """Write to an index whose terms were made under other rules."""
    with raw(place / "i") as connection:
        connection.execute("UPDATE meta SET value = '0' WHERE key = 'lexical_terms'")
    upsert(place)


def delete(place: Path) -> None:
    with opened(place) as index:
        index.delete(["d2", "d3"])


def annotate(place: Path) -> None:
    with opened(place) as index:
        found = [each for each in index.iterate() if each.id in ("d4", "d5")]
        index.replace_documents([(each, replace(each, metadata={"class": "x"})) for each in found])


def judge(place: Path) -> None:
    with opened(place) as index:
        changed = Judgement("what is d4", "d7", True)
        index.judge_many([changed, Judgement("what is d5", "d5", False)])


def take_back(place: Path) -> None:
    with opened(place) as index:
        index.remove_judgements([("what is d4", "d4")])


def checkpoint(place: Path) -> None:
    with opened(place) as index:
        index.upsert(documents("n1"))
        index.checkpoint()


def segment(place: Path) -> None:
    store = DocumentStore.open(place / "i")
    try:
        old, source = store.segments.read(), store.segments.source(0, 12)
        with store.segments.building(), store.segments.draft() as draft:
            draft.write(b"built")
            store.segments.install(draft, rows=(0, 12), source=source, description="", retires=old)
    finally:
        store.close()


def optimize(place: Path) -> None:
    with opened(place) as index:
        index.set_target(Target(recall=1.0, exact_below=2))
        index.optimize(anew=True)


def compact(place: Path) -> None:
    compact_index(place / "i")


def purge(place: Path) -> None:
    compact_index(place / "i", purge=True)


def reindex(place: Path) -> None:
    if plan_reindex(place / "i", encoder=OtherHashEncoder()).needed:
        with (
            build_generation(place / "i", encoder=OtherHashEncoder()) as built,
            SearchIndex.open(place / "i", encoder=HashEncoder()) as index,
        ):
            assert len(built.target) == len(index)


def reindex_again(place: Path) -> None:
    encoder = HashEncoder()
    encoder.fingerprint = "hash-3"
    if plan_reindex(place / "two", encoder=encoder).needed:
        with build_generation(place / "two", encoder=encoder):
            pass


def rollback(place: Path) -> None:
    with contextlib.suppress(NotFound):  # killed when it was done
        roll_back(place / "two", encoder=HashEncoder())


def forget(place: Path) -> None:
    compact_index(place / "two")


def repair(place: Path) -> None:
    repair_index(place / "damaged", encoder=HashEncoder())


def backup(place: Path) -> None:
    with contextlib.suppress(AlreadyExists):
        backup_index(place / "i", place / "copy")


def restore(place: Path) -> None:
    restore_index(place / "saved", place / "damaged", replace=True)


def upgrade(place: Path) -> None:
    upgrade_index(place / "old")


def replace_file(place: Path) -> None:
    replace_text(place / "file", "new")


SCENARIOS: Mapping[str, Callable[[Path], None]] = {
    each.__name__: each
    for each in (
        create,
        add,
        upsert,
        renew_terms,
        delete,
        annotate,
        judge,
        take_back,
        checkpoint,
        segment,
        optimize,
        build,
        rebuild,
        compact,
        purge,
        reindex,
        reindex_again,
        rollback,
        forget,
        repair,
        backup,
        restore,
        upgrade,
        replace_file,
    )
}


def state(place: Path) -> dict[str, Any]:
    """Return what is in a place, by what its users see."""
    found = {name: _contents(_found_at(place / name)) for name in INDEXES}
    kept = found["two/previous"]
    if kept is not None:  # a rollback has begun by bringing over what was written since
        kept[1][:] = [each for each in kept[1] if each[0] != "since"]
        kept[2][:] = [each for each in kept[2] if each.document_id != "since"]
    return found | {"file": (place / "file").read_text()}


def _found_at(path: Path) -> Path:
    """Return where an index lies; the generation before is between two names for a moment."""
    live = read_constants(path.parent)
    if path.name != "previous" or path.exists() or live is None:
        return path
    for place in (building_place(path.parent), moved_place(path.parent)):
        found = read_constants(place)
        if found is not None and number_of(found) < number_of(live):
            return place
    return path


def encoder_of(path: Path) -> HashEncoder:
    """Return the encoder that the index at `path` is by."""
    encoder = HashEncoder()
    encoder.dim = 16 if path.name == "old" else 256
    third = HashEncoder()
    third.fingerprint = "hash-3"
    for each in (encoder, OtherHashEncoder(), third):
        with contextlib.suppress(EncoderMismatch):
            SearchIndex.open(path, encoder=each).close()
            return each
    raise AssertionError(f"{path} is by no encoder of the tests")


def _contents(path: Path) -> Any:
    return copy.deepcopy(of_these_bytes(_read, path))


_KNOWN: dict[tuple[Callable[[Path], Any], str, str], Any] = {}


def of_these_bytes(ask: Callable[[Path], Any], path: Path) -> Any:
    """Return what `ask` says of an index; of one with the same bytes it is not asked again.

    A scenario changes one index of a place, and the others would be read thousands of times.
    """
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*")):
        digest.update(f"{file.relative_to(path)}\0".encode())
        if file.is_file():
            digest.update(hashlib.sha256(file.read_bytes()).digest())
    key = ask, path.name, digest.hexdigest()
    if key not in _KNOWN:
        _KNOWN[key] = ask(path)
    return _KNOWN[key]


def _read(path: Path) -> Any:
    try:
        encoder = encoder_of(path)
        with SearchIndex.open(path, encoder=encoder) as index:
            documents = [(each.id, each.text, each.metadata) for each in index.iterate()]
            if not index.finished:
                return "unfinished"
            return encoder.fingerprint, documents, index.judgements()
    except NotFound:
        return None
    except IncompatibleIndex:
        return "older format"
