"""A process that writes to an index, and says on stdout what is acknowledged after each step.

    python tests/crash/worker.py PLACE

Each line is JSON: for each index in PLACE, its documents by id, as they must be found from then on
after a loss of power. tests/crash/power_loss.py follows its system calls.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]

from conftest import HashEncoder, OtherHashEncoder  # noqa: E402 - found by the path above
from scenarios import documents  # noqa: E402 - found by the path above

from simsearch.records import Document, Judgement  # noqa: E402 - found by the path above
from simsearch.search_index import (  # noqa: E402 - found by the path above
    SearchIndex,
    backup_index,
    build_generation,
    build_index,
    compact_index,
    restore_index,
    roll_back,
    write_corpus,
)


def acknowledge(**contents: list[Document]) -> None:
    found = {name: {each.id: each.text for each in its} for name, its in contents.items()}
    os.write(1, (json.dumps(found) + "\n").encode())


def as_document(judgement: Judgement) -> Document:
    """Return a judgement in the form of what is acknowledged."""
    return Document(str(judgement), "")


def main(place: Path) -> None:
    encoder = HashEncoder()
    first, more = documents("a", "b", "c"), documents("d", "e")
    with SearchIndex.create(place / "i", encoder=encoder) as index:
        acknowledge(i=[])
        index.add(first)
        acknowledge(i=first)
        index.delete(["a"])
        acknowledge(i=first[1:])
        index.checkpoint()
        index.upsert([Document("b", "changed")])
        changed = [Document("b", "changed"), first[2]]
        acknowledge(i=changed)
        compact_index(place / "i")
        acknowledge(i=changed)
        index.add(more)
        acknowledge(i=[*changed, *more])
        index.judge("what is e", "e")
        said = as_document(Judgement("what is e", "e", True))
        acknowledge(i=[*changed, *more, said])
    backup_index(place / "i", place / "saved")
    acknowledge(i=[*changed, *more, said], saved=[*changed, *more, said])
    with build_index(place / "i", encoder=encoder, replace=True) as index:
        write_corpus(index.upsert, first, total=len(first))
    acknowledge(i=[*first, said], saved=[*changed, *more, said])
    restore_index(place / "saved", place / "i", replace=True)
    acknowledge(i=[*changed, *more, said], saved=[*changed, *more, said])
    with build_generation(place / "i", encoder=OtherHashEncoder()):
        pass
    with SearchIndex.open(place / "i", encoder=OtherHashEncoder()) as index:
        index.delete(["d"])
        acknowledge(i=[*changed, more[1], said], saved=[*changed, *more, said])
    roll_back(place / "i", encoder=encoder)
    acknowledge(i=[*changed, more[1], said], saved=[*changed, *more, said])


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
