"""One open database: its snapshots, its transactions, and when it must not be used any more."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from simsearch.errors import CorruptIndex, IndexLocked, SimsearchError, SystemFailure
from simsearch.failpoints import failpoint
from simsearch.storage.database import (
    NO_ROOM,
    connect,
    connect_read_only,
    database_path,
    file_identity,
    has_log,
    primary_code,
    refuse_foreign_schema,
    refuse_read_only,
    translated_errors,
    writable,
)
from simsearch.storage.locks import writer_lock
from simsearch.storage.seal import is_number, verified_constants
from simsearch.storage.witness import read_witness, refuse_lost_commits, write_witness

logger = logging.getLogger("simsearch")

# The log is moved into the database when it is larger: four times what SQLite would let it grow
# to, because a batch of a thousand vectors alone is half of that.
_LOG_BYTES = 16 << 20


class Durability(StrEnum):
    """What a commit survives when its call has returned."""

    FULL = "full"  # kill -9 and power loss
    BATCH = "batch"  # kill -9; a power loss may take whole recent commits, until one in FULL


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What moving the log into the database came to, in pages."""

    complete: bool
    pages: int
    moved: int


class Session:
    """A connection that is safe to share between threads: one of them is inside at a time.

    It follows an index that was compacted, repaired or switched to another generation under its
    name, and refuses every other change of hands. After an I/O error in a commit nothing may be
    read or written through it any more: whether the disk has the commit is only known to who opens
    the index again.
    """

    def __init__(self, directory: Path, durability: Durability) -> None:
        self.directory = directory
        self.path = directory / "meta.db"
        self._durability = durability
        self._mutex = threading.RLock()
        self._process = os.getpid()
        self._poison: str | None = None
        self._wrote = False
        self.writing = False
        self._open()

    def _open(self) -> None:
        self.path = database_path(self.directory)
        with translated_errors(self.path):
            witnessed = read_witness(self.directory)
            self.writable = writable(self.directory)
            self.identity = self._identity_now()
            failpoint("open.connect")
            self.connection = self._connected()
            try:
                if self._identity_now() != self.identity:
                    raise SystemFailure(f"{self.directory} was replaced while it was opened")
                if self._durability is Durability.BATCH and self.writable:
                    self.connection.execute("PRAGMA synchronous=NORMAL")
                failpoint("open.read")
                refuse_foreign_schema(self.connection, self.path)
                self._check_settings(witnessed)
            except BaseException:
                self.connection.close()
                raise

    def _connected(self) -> sqlite3.Connection:
        if self.writable:
            try:
                return connect(self.path)
            except sqlite3.OperationalError as error:
                # A disk without room for the index of the log is no reason not to read.
                if primary_code(error) not in NO_ROOM or has_log(self.path):
                    raise
                self.writable = False
                self.identity = self._identity_now()
        return connect_read_only(self.path)

    def _identity_now(self) -> tuple[int, ...] | None:
        """Return what tells the database from another one that took its name.

        One that cannot be written to may have been opened as immutable; if somebody else can,
        it is another one with every change, and once there is a log, which was not looked for.
        """
        found = file_identity(self.path)
        if found is None or self.writable:
            return found
        status = self.path.stat()
        return *found, status.st_size, status.st_mtime_ns, has_log(self.path)

    def _check_settings(self, witnessed: int) -> None:
        settings: dict[str, str] = dict(self.connection.execute("SELECT key, value FROM meta"))
        constants = verified_constants(settings, self.path)
        (commit_number,) = self.numbers("commit_number")
        self.constants = constants
        refuse_lost_commits(self.directory, witnessed=witnessed, commit_number=commit_number)

    @property
    def dim(self) -> int:
        """Width of the vectors.

        Raises:
            CorruptIndex: the settings do not say it.
        """
        try:
            return int(self.constants["dim"])
        except (KeyError, ValueError) as error:
            raise CorruptIndex(f"{self.path}: dim is no number: {error}") from error

    def close(self, *, given_up: bool = False) -> None:
        """Close the connection; a second call does nothing.

        `given_up`: nobody will read what was written.
        """
        if self._process != os.getpid():
            return  # the connection is the parent's: to close it here would drop its locks
        with self._mutex:
            if self._wrote and self._poison is None and not given_up:
                with contextlib.suppress(SimsearchError):  # logged; the log is kept
                    self.checkpoint()
            self._wrote = False
            self.connection.close()

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Let one statement read, in the snapshot that is open or one of its own."""
        self._refuse_fork()
        with self._mutex, translated_errors(self.path):
            yield

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[None]:
        """Let everything read inside the block belong to one commit."""
        self._refuse_fork()
        with self._mutex, translated_errors(self.path):
            if self.connection.in_transaction:
                yield
                return
            self._refuse_poisoned()
            self._follow_replacement()
            self.connection.execute("BEGIN")
            try:
                yield
            finally:
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")

    @contextlib.contextmanager
    def transaction(self, *, durable: bool = False) -> Iterator[None]:
        """Make what is written inside the block visible at its end, whole; or not at all.

        Holds the writer lock meanwhile. `durable` makes this commit, and with it every earlier
        one, survive a power loss whatever the durability of the session.
        """
        self._refuse_fork()
        full = durable or self._durability is Durability.FULL
        with contextlib.ExitStack() as stack:
            stack.enter_context(translated_errors(self.path))
            self._refuse_poisoned()
            self.refuse_read_only()
            self._lock(stack)
            if full and self._durability is Durability.BATCH:
                self.connection.execute("PRAGMA synchronous=FULL")
                stack.callback(self._relax)
            failpoint("transaction.begin")
            self.connection.execute("BEGIN IMMEDIATE")
            self.writing = True
            try:
                yield
                failpoint("transaction.number")
                (number,) = self.connection.execute(
                    "UPDATE meta SET value = value + 1 WHERE key = 'commit_number' RETURNING value"
                ).fetchone()
                self._commit()
            except BaseException as error:
                self._roll_back(error)
                raise
            finally:
                self.writing = False
            self._wrote = True
            failpoint("transaction.acknowledge")
            if full:
                write_witness(self.directory, int(number))
            self._shorten_log()

    def _relax(self) -> None:
        if self._poison is None:
            self.connection.execute("PRAGMA synchronous=NORMAL")

    def _lock(self, stack: contextlib.ExitStack) -> None:
        """Enter the writer lock of the index that has the name now."""
        while True:
            with contextlib.ExitStack() as attempt:
                # The lock first: while it is waited for, other threads may still read.
                attempt.enter_context(writer_lock(self.directory / "LOCK"))
                attempt.enter_context(self._mutex)
                self._refuse_poisoned()
                if not self._follow_replacement():
                    stack.push(attempt.pop_all())
                    return

    def _commit(self) -> None:
        try:
            failpoint("transaction.commit")
            self.connection.execute("COMMIT")
        except BaseException as error:
            if primary_code(error) not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_FULL):
                self._poison = f"a commit failed: {error}"
            raise

    def _roll_back(self, error: BaseException) -> None:
        if primary_code(error) == sqlite3.SQLITE_IOERR:
            self._poison = f"a write failed: {error}"
        try:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
        except sqlite3.Error as failure:
            self._poison = f"a rollback failed: {failure}"

    def checkpoint(self) -> Checkpoint:
        """Move the log into the database, as far as readers allow, and say how far that was.

        Raises:
            SystemFailure: the disk refuses. Nothing is lost: what is committed is in the log.
        """
        self._refuse_fork()
        with self._mutex, translated_errors(self.path):
            self._refuse_poisoned()
            self.refuse_read_only()
            try:
                failpoint("checkpoint")
                busy, pages, moved = self.connection.execute(
                    "PRAGMA wal_checkpoint(PASSIVE)"
                ).fetchone()
            except (sqlite3.OperationalError, OSError) as error:
                logger.warning(
                    "%s: the log could not be moved into the database: %s (every commit is safe "
                    "in the log; it is tried again later)",
                    self.directory,
                    error,
                )
                raise
        return Checkpoint(not busy and moved == pages, pages, moved)

    def _shorten_log(self) -> None:
        log = self.path.with_name("meta.db-wal")
        # The commit stands, whatever becomes of this.
        with contextlib.suppress(OSError, SimsearchError):
            if log.stat().st_size > _LOG_BYTES:
                self.checkpoint()

    def numbers(self, *keys: str) -> list[int]:
        """Return settings that are numbers, as they are in the present snapshot.

        Raises:
            CorruptIndex: one is missing, or is none.
        """
        with self.reading():
            found = dict(self.connection.execute("SELECT key, value FROM meta"))
        for key in keys:
            if key not in found:
                raise self.damage(f"the setting {key!r} is lost")
        return [self.as_number(key, found[key]) for key in keys]

    def as_number(self, key: str, value: str) -> int:
        """Return a setting that is a number, 0 or more.

        Raises:
            CorruptIndex: it is none.
        """
        if not is_number(value):
            raise self.damage(f"the setting {key!r} is no number")
        return int(value)

    def damage(self, what: str) -> CorruptIndex:
        """Return the error for something in the database that is not what was written."""
        return CorruptIndex(
            f"{self.path}: {what} (restore a backup, or run `simsearch repair {self.directory}`)"
        )

    def _refuse_poisoned(self) -> None:
        if self._poison is not None:
            raise SystemFailure(
                f"{self.directory}: {self._poison}; this handle is not used any more, because what "
                "the disk holds is only known to who reads it anew (open the index again)"
            )

    def refuse_read_only(self) -> None:
        """Refuse to write through a session that cannot.

        Raises:
            InvalidInput: the index is a backup.
            SystemFailure: this process may not write to it, or could not when it was opened.
        """
        if not self.writable:
            refuse_read_only(self.directory)
            raise SystemFailure(
                f"{self.directory} could not be written to when it was opened (if its disk is "
                "full, free some of it; then open it again)"
            )

    def _refuse_fork(self) -> None:
        if self._process != os.getpid():
            raise IndexLocked(
                f"{self.directory} was opened by process {self._process}, of which this one is a "
                "fork (open the index in each process)"
            )

    def _follow_replacement(self) -> bool:
        """Open the database that has the name now, if it is another; return whether it was.

        Raises:
            SystemFailure: it is gone, or that of another index. A write to a file that has no name
                any more would be acknowledged and lost.
        """
        if self._identity_now() == self.identity:
            return False
        before, old = self.constants, self.connection
        if not self.path.exists():
            raise SystemFailure(f"{self.directory} was deleted since it was opened (open it again)")
        try:
            self._open()
            if self.constants.get("index_id", "") != before.get("index_id"):
                self.connection.close()
                raise SystemFailure(
                    f"{self.directory} was replaced by another index since it was opened "
                    "(open it again)"
                )
        except BaseException:
            # Equal to no file, so that the next call looks again.
            self.connection, self.constants, self.identity = old, before, ()
            raise
        old.close()
        return True
