"""A model of a disk that loses power: what a trace of system calls may have left on it.

A file keeps what it was when it was last synced; each later write may be there, absent, cut or
zeros. A directory keeps the names it had when it was last synced; of the later changes, some
first ones may be there. That is what POSIX promises, which is less than most file systems do.
"""

from __future__ import annotations

import random
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path

_CALL = re.compile(r"^(?:\[?[pid ]*\d+\]? +)?(\w+)\((.*)\) += (-?\d+)", re.DOTALL)
_TOKEN = re.compile(r'"((?:\\x[0-9a-f]{2})*)"|([A-Za-z_|][\w|]*)|(-?\d+)')
CALLS = (
    "openat,open,creat,close,write,pwrite64,sendfile,lseek,ftruncate,fsync,fdatasync,rename,"
    "renameat,renameat2,unlink,unlinkat,rmdir,mkdir,mkdirat,link,linkat,copy_file_range"
)
SECTORS = (512, 4096)

Token = bytes | str | int


def parse(line: str) -> tuple[str, list[Token], int] | None:
    """Return a call that succeeded: its name, arguments and result."""
    found = _CALL.match(line)
    if found is None or int(found[3]) < 0:
        return None
    arguments: list[Token] = [
        bytes.fromhex(text.replace("\\x", "")) if not (word or number) else word or int(number)
        for text, word, number in _TOKEN.findall(found[2])
    ]
    return found[1], arguments, int(found[3])


@dataclass(eq=False)
class File:
    """A file: what is on the disk, what programs see, and the writes between the two."""

    durable: bytes = b""
    content: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, bytes]] = field(default_factory=list)  # offset -1: cut to that length

    def write(self, offset: int, data: bytes) -> None:
        _apply(self.content, offset, data)
        self.pending.append((offset, data))

    def truncate(self, size: int) -> None:
        self.write(-1, size.to_bytes(8, "little"))

    def sync(self) -> None:
        self.durable = bytes(self.content)
        self.pending.clear()

    def left_by(self, rng: random.Random) -> bytes:
        """Return what a loss of power leaves of the file."""
        content = bytearray(self.durable)
        kept = rng.choice(("all", "none", "some", "cut", "zeros"))
        upto = rng.randint(0, len(self.pending)) if kept in ("some", "cut", "zeros") else None
        pending = {"all": self.pending, "none": []}.get(kept, self.pending[:upto])
        for offset, data in pending:
            _apply(content, offset, data)
        if kept in ("cut", "zeros") and len(self.pending) > (upto or 0):
            offset, data = self.pending[upto or 0]
            if offset >= 0:
                whole = len(data) // rng.choice(SECTORS) * SECTORS[0]
                _apply(content, offset, data[:whole] if kept == "cut" else bytes(len(data)))
        return bytes(content)


def _apply(content: bytearray, offset: int, data: bytes) -> None:
    size = int.from_bytes(data, "little") if offset < 0 else offset
    if len(content) < size:
        content.extend(bytes(size - len(content)))
    if offset < 0:
        del content[size:]
    else:
        content[offset : offset + len(data)] = data


@dataclass(eq=False)
class Directory:
    """A directory as programs see it."""

    entries: dict[str, File | Directory] = field(default_factory=dict)


@dataclass(frozen=True)
class Change:
    """Names of one or two directories that change in one step; None: there is none any more."""

    names: tuple[tuple[Directory, str, File | Directory | None], ...]


class Disk:
    """Everything below one directory, from its state on a real disk on."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.changes: list[Change] = []
        self.synced: dict[Directory, int] = {}  # how many of all changes are durable for it
        self.top = self._read(root)
        self.start = self._copy_names(self.top)
        self._open: dict[int, tuple[File | Directory, str]] = {}
        self._position: dict[int, int] = {}
        self.acknowledged: list[bytes] = []
        self.syncs: list[str] = []  # of what, in order

    def _read(self, path: Path) -> Directory:
        found = Directory()
        for entry in path.iterdir():
            if stat.S_ISDIR(entry.lstat().st_mode):
                found.entries[entry.name] = self._read(entry)
            else:
                data = entry.read_bytes()
                found.entries[entry.name] = File(data, bytearray(data))
        return found

    def _copy_names(self, directory: Directory) -> dict[Directory, dict[str, File | Directory]]:
        names = {directory: dict(directory.entries)}
        for each in directory.entries.values():
            if isinstance(each, Directory):
                names |= self._copy_names(each)
        return names

    def _find(self, token: Token, at: Token = "AT_FDCWD") -> tuple[Directory, str] | None:
        """Return the directory and name that a path leads to; None outside of the root."""
        path = Path(bytes(token).decode())  # type: ignore[arg-type]
        directory, parts = self.top, path.parts
        if path.is_absolute():
            if not path.is_relative_to(self.root) or path == self.root:
                return None
            parts = path.relative_to(self.root).parts
        elif isinstance(at, int) and at in self._open:
            directory = self._open[at][0]  # type: ignore[assignment]
        else:
            return None
        for part in parts[:-1]:
            directory = directory.entries[part]  # type: ignore[assignment]
        return directory, parts[-1]

    def _change(self, *names: tuple[Directory, str, File | Directory | None]) -> None:
        for directory, name, target in names:
            if target is None:
                directory.entries.pop(name, None)
            else:
                directory.entries[name] = target
        self.changes.append(Change(names))

    def run(self, name: str, arguments: list[Token], result: int, *, lost: str = "") -> None:
        """Let one call happen; a sync of the kind `lost` does nothing."""
        name, arguments = at_form(name, arguments)
        method = getattr(self, f"_{name}", None)
        if name in ("fsync", "fdatasync"):
            self._sync(arguments[0], lost)
        elif method is not None:
            method(arguments, result)

    def _openat(self, arguments: list[Token], result: int) -> None:
        at, path, flags = arguments[:3]
        self._open.pop(result, None)
        if path == bytes(self.root):
            self._open[result] = self.top, "parent"
        place = self._find(path, at)
        if place is None:
            return
        directory, name = place
        if name not in directory.entries:
            self._change((directory, name, File()))
        found = directory.entries[name]
        if "O_TRUNC" in str(flags) and isinstance(found, File):
            found.truncate(0)
        self._open[result] = found, name
        self._position[result] = 0

    def _close(self, arguments: list[Token], result: int) -> None:
        self._open.pop(arguments[0], None)  # type: ignore[arg-type]

    def _file(self, descriptor: Token) -> File | None:
        found = self._open.get(descriptor, (None, ""))[0]  # type: ignore[arg-type]
        return found if isinstance(found, File) else None

    def _write(self, arguments: list[Token], result: int) -> None:
        descriptor, data = arguments[:2]
        if descriptor == 1:
            self.acknowledged.append(bytes(data))  # type: ignore[arg-type]
        file = self._file(descriptor)
        if file is not None:
            file.write(self._position[descriptor], data[:result])  # type: ignore[index,arg-type]
            self._position[descriptor] += result  # type: ignore[index]

    def _pwrite64(self, arguments: list[Token], result: int) -> None:
        file = self._file(arguments[0])
        if file is not None:
            file.write(arguments[-1], arguments[1][:result])  # type: ignore[index,arg-type]

    def _sendfile(self, arguments: list[Token], result: int) -> None:
        target, source = self._file(arguments[0]), self._file(arguments[1])
        if target is not None and source is not None and result:
            offset = arguments[2]
            data = bytes(source.content[offset : offset + result])  # type: ignore[operator,misc]
            target.write(self._position[arguments[0]], data)  # type: ignore[index]
            self._position[arguments[0]] += result  # type: ignore[index]

    def _lseek(self, arguments: list[Token], result: int) -> None:
        self._position[arguments[0]] = result  # type: ignore[index]

    def _ftruncate(self, arguments: list[Token], result: int) -> None:
        file = self._file(arguments[0])
        if file is not None:
            file.truncate(arguments[1])  # type: ignore[arg-type]

    def _sync(self, descriptor: Token, lost: str) -> None:
        found, name = self._open.get(descriptor, (None, ""))  # type: ignore[arg-type]
        kind = f"directory {name}" if isinstance(found, Directory) else f"file {name}"
        kind = re.sub(r"\.[\w.]+\.draft-[\w-]+", "draft", kind)
        if found is None:
            return
        self.syncs.append(kind)
        if kind == lost:
            return
        if isinstance(found, File):
            found.sync()
        else:
            self.synced[found] = len(self.changes)

    def _mkdirat(self, arguments: list[Token], result: int) -> None:
        place = self._find(arguments[1], arguments[0])
        if place is not None:
            made = Directory()
            self.start[made] = {}
            self._change((*place, made))

    def _unlinkat(self, arguments: list[Token], result: int) -> None:
        place = self._find(arguments[1], arguments[0])
        if place is not None:
            self._change((*place, None))

    def _linkat(self, arguments: list[Token], result: int) -> None:
        old, new = self._find(arguments[1], arguments[0]), self._find(arguments[3], arguments[2])
        if old is not None and new is not None:
            self._change((*new, old[0].entries[old[1]]))

    def _renameat2(self, arguments: list[Token], result: int) -> None:
        old, new = self._find(arguments[1], arguments[0]), self._find(arguments[3], arguments[2])
        if old is None or new is None:
            return
        moved, there = old[0].entries[old[1]], new[0].entries.get(new[1])
        exchange = "RENAME_EXCHANGE" in arguments
        self._change((*old, there if exchange else None), (*new, moved))

    def lose_power(self, rng: random.Random, target: Path) -> None:
        """Write what may be left of everything into an empty directory."""
        last = len(self.changes)
        upto = {
            directory: rng.choice((self.synced.get(directory, 0), last, rng.randint(0, last)))
            for directory in self.start
        }
        names = {directory: dict(entries) for directory, entries in self.start.items()}
        for number, change in enumerate(self.changes):
            done = any(
                number < max(upto[directory], self.synced.get(directory, 0))
                for directory, _, _ in change.names
            )
            for directory, name, found in change.names if done else ():
                if found is None:
                    names[directory].pop(name, None)
                else:
                    names[directory][name] = found
        left: dict[File, bytes] = {}
        self._materialise(self.top, names, left, rng, target)

    def _materialise(
        self,
        directory: Directory,
        names: dict[Directory, dict[str, File | Directory]],
        left: dict[File, bytes],
        rng: random.Random,
        target: Path,
    ) -> None:
        for name, found in sorted(names[directory].items()):
            if isinstance(found, Directory):
                (target / name).mkdir(mode=0o700)
                self._materialise(found, names, left, rng, target / name)
            elif not name.endswith("-shm"):  # in memory only
                if found not in left:
                    left[found] = found.left_by(rng)
                (target / name).write_bytes(left[found])


# A call by path alone is one at the current directory.

BY_PATH = {"open": "openat", "mkdir": "mkdirat", "unlink": "unlinkat", "rmdir": "unlinkat"}
BY_PATH |= {"rename": "renameat2", "link": "linkat"}


def at_form(name: str, arguments: list[Token]) -> tuple[str, list[Token]]:
    """Return a call in the form that names the directories its paths start from."""
    if name == "renameat":
        return "renameat2", arguments
    if name not in BY_PATH:
        return name, arguments
    if name in ("rename", "link"):
        return BY_PATH[name], ["AT_FDCWD", arguments[0], "AT_FDCWD", *arguments[1:]]
    return BY_PATH[name], ["AT_FDCWD", *arguments]
