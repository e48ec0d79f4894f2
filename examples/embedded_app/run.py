"""A notes application that finds related notes: simsearch inside a program, without a server.

    python examples/embedded_app/run.py [DIR]

The notes go to DIR/notes, by default in a fresh temporary directory that is printed.
"""

from __future__ import annotations

import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import simsearch

NOTES = {
    "sourdough": "Feed the sourdough starter every morning with rye flour and lukewarm water.",
    "gutter": "Call somebody about the leaking gutter before the autumn rain.",
    "dentist": "Dentist on Tuesday at nine, bring the insurance card.",
    "bike": "The bicycle chain jumps in third gear; buy a new cassette.",
    "roof": "Water drips through the attic roof when the wind comes from the west.",
}
WEEKS, PER_WEEK = 5, 3  # shopping lists that are written while another thread searches


class Notebook:
    """Notes in a folder, open until closed, found by what they mean. Threads may share one."""

    def __init__(self, folder: Path, *, encoder: str | None = None) -> None:
        try:
            self._index = simsearch.SearchIndex.open(folder)  # has a copy of its encoder
        except simsearch.NotFound:
            loaded = simsearch.Encoder.load(encoder)
            self._index = simsearch.SearchIndex.create(folder, encoder=loaded)

    def __enter__(self) -> Notebook:
        return self

    def __exit__(self, *_: object) -> None:
        self._index.close()

    def add(self, note_id: str, text: str) -> None:
        """Add a note; raises `simsearch.DuplicateId` if there is one of that id."""
        self._index.add([simsearch.Document(id=note_id, text=text)])

    def edit(self, notes: dict[str, str]) -> None:
        """Write notes over those of the same ids, all of them at once."""
        self._index.upsert(simsearch.Document(id=i, text=text) for i, text in notes.items())

    def delete(self, note_id: str) -> bool:
        """Delete a note and return whether there was one."""
        return self._index.delete([note_id]) == 1

    def find(self, query: str, k: int = 3) -> list[simsearch.Hit]:
        """Return the notes nearest to a query, best first."""
        return self._index.search(query, k=k)

    def related(self, note_id: str, k: int = 3) -> list[simsearch.Hit]:
        """Return the notes nearest to a note, without itself; none for an unknown id."""
        note = self._index.get(note_id)
        hits = self.find(note.text, k=k + 1) if note else []  # the note itself is among them
        return [hit for hit in hits if hit.id != note_id][:k]


def main(out: Path | None = None, encoder: str | None = None) -> None:
    """Run the application once through; `encoder` None is the packaged default."""
    folder = (out or Path(tempfile.mkdtemp(prefix="simsearch-notes-"))) / "notes"
    with Notebook(folder, encoder=encoder) as notebook:
        for note_id, text in NOTES.items():
            notebook.add(note_id, text)
        show("related to 'gutter'", notebook.related("gutter"))

        notebook.edit({"dentist": "The dentist moved the appointment to Friday at three."})
        show("when do I see the doctor for my teeth?", notebook.find("doctor for my teeth"))

        print(f"\ndeleted 'roof': {notebook.delete('roof')}, once more: {notebook.delete('roof')}")
        show("related to 'gutter', with 'roof' gone", notebook.related("gutter"))

        for note_id, text in [("bike", "Oil the chain."), ("blank", "   ")]:
            try:
                notebook.add(note_id, text)
            except simsearch.SimsearchError as error:
                print(f"refused {note_id!r}: {error}")

        done = threading.Event()
        with ThreadPoolExecutor(max_workers=1) as pool:
            watching = pool.submit(watch, notebook, done)
            for week in range(WEEKS):
                notebook.edit({f"week {week}, {n}": f"Item {n} to buy." for n in range(PER_WEEK)})
            done.set()
            searches, halves = watching.result()
        print(f"{searches} searches while {WEEKS} lists were written; half a list seen: {halves}")

    with Notebook(folder) as notebook:
        print(f"opened again: {len(notebook.find('notes', k=100))} notes in {folder}")


def watch(notebook: Notebook, done: threading.Event) -> tuple[int, int]:
    """Search until told to stop; return how often, and how often a list was there in part."""
    searches = halves = 0
    while not (done.is_set() and searches):
        seen = [hit for hit in notebook.find("what to buy", k=100) if hit.id.startswith("week")]
        searches += 1
        halves += len(seen) % PER_WEEK != 0
    return searches, halves


def show(title: str, hits: list[simsearch.Hit]) -> None:
    """Print hits under a title."""
    print(f"\n{title}")
    for hit in hits:
        print(f"    {hit.score:.3f}  {hit.id}: {hit.text}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
