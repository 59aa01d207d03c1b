"""The store: append-only evidence in SQLite, files by content beside it; a kill loses only what was in flight."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sartor.codec import canonical_json
from sartor.errors import StorageError
from sartor.storage import file_sha256, sync_folder, telling_disk_errors, write_text
from sartor.types import Artifact

_SCHEMA = """
CREATE TABLE IF NOT EXISTS evidence (
    key TEXT PRIMARY KEY, stage TEXT NOT NULL, job TEXT NOT NULL, result TEXT NOT NULL,
    refusal TEXT NOT NULL DEFAULT '', seconds REAL NOT NULL, created REAL NOT NULL, run TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS evidence_stage ON evidence (stage);
CREATE TABLE IF NOT EXISTS uses (
    run TEXT NOT NULL, key TEXT NOT NULL, seconds REAL NOT NULL, reused INTEGER NOT NULL, at REAL NOT NULL,
    PRIMARY KEY (run, key)
);
CREATE TRIGGER IF NOT EXISTS evidence_stays BEFORE UPDATE ON evidence
    BEGIN SELECT RAISE(ABORT, 'evidence is append-only'); END;
CREATE TRIGGER IF NOT EXISTS evidence_remains BEFORE DELETE ON evidence
    BEGIN SELECT RAISE(ABORT, 'evidence is append-only'); END;
"""


@dataclass(frozen=True)
class Entry:
    """One finished action. ``refusal`` is the reason code and sentence when a plug-in or worker declined."""

    key: str
    stage: str
    job: Mapping[str, Any]
    result: Mapping[str, Any]
    refusal: Mapping[str, str]
    seconds: float
    created: float
    run: str


@dataclass(frozen=True)
class Use:
    """An entry as used by one run: ``seconds`` is what it cost that run, 0 when reused."""

    entry: Entry
    seconds: float
    reused: bool
    at: float


class Evidence:
    """Append-only evidence, durable before an action is reported done.

    Raises:
        StorageError: the disk is full or read-only, or the database is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with telling_disk_errors(path), self._telling():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(path, timeout=30, isolation_level=None)
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA synchronous=FULL")
            self._database.executescript(_SCHEMA)

    @contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            if "full" in str(error):
                raise StorageError(f"no space left on the disk of {self.path}; free some and run again") from error
            if "readonly" in str(error) or "unable to open" in str(error):
                raise StorageError(f"{self.path} cannot be written; choose another --workspace") from error
            raise StorageError(f"{self.path}: {error}") from error
        except sqlite3.DatabaseError as error:
            raise StorageError(
                f"{self.path} is damaged ({error}); move it away and run again, finished packages are not affected"
            ) from error

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def add(
        self,
        *,
        key: str,
        stage: str,
        job: object,
        result: object,
        seconds: float,
        run: str,
        refusal: Mapping[str, str] | None = None,
        cost: float | None = None,
    ) -> None:
        """Record a finished action and its use by ``run``; a key already present keeps its first result.

        ``cost``: seconds of the run's time that it took, where others ran beside it; ``seconds`` otherwise.
        """
        with self._telling():
            self._database.execute("BEGIN IMMEDIATE")
            try:
                now = time.time()
                self._database.execute(
                    "INSERT OR IGNORE INTO evidence VALUES (?,?,?,?,?,?,?,?)",
                    (
                        key,
                        stage,
                        canonical_json(job),
                        canonical_json(result),
                        canonical_json(refusal) if refusal else "",
                        seconds,
                        now,
                        run,
                    ),
                )
                self._database.execute(
                    "INSERT OR IGNORE INTO uses VALUES (?,?,?,0,?)", (run, key, seconds if cost is None else cost, now)
                )
                self._database.execute("COMMIT")
            except BaseException:
                self._database.execute("ROLLBACK")
                raise

    def use(self, key: str, run: str) -> None:
        """Note that ``run`` relies on an entry made by another run (it costs this run nothing)."""
        with self._telling():
            self._database.execute("INSERT OR IGNORE INTO uses VALUES (?,?,0,1,?)", (run, key, time.time()))

    def get(self, key: str) -> Entry | None:
        """The entry of a key, or None."""
        with self._telling():
            row = self._database.execute("SELECT * FROM evidence WHERE key=?", (key,)).fetchone()
        return _entry(row) if row else None

    def cost(self, key: str, run: str) -> float:
        """Seconds an entry cost a run; 0 when another run had made it."""
        with self._telling():
            row = self._database.execute("SELECT seconds FROM uses WHERE run=? AND key=?", (run, key)).fetchone()
        return float(row[0]) if row else 0.0

    def of_stage(self, stage: str) -> list[Entry]:
        """All entries of a stage, oldest first."""
        with self._telling():
            rows = self._database.execute(
                "SELECT * FROM evidence WHERE stage=? ORDER BY created, key", (stage,)
            ).fetchall()
        return [_entry(row) for row in rows]

    def of_run(self, run: str) -> list[Use]:
        """What a run relied on, in the order it came."""
        with self._telling():
            rows = self._database.execute(
                "SELECT evidence.*, uses.seconds, uses.reused, uses.at FROM uses JOIN evidence USING (key) "
                "WHERE uses.run=? ORDER BY uses.at, key",
                (run,),
            ).fetchall()
        return [Use(_entry(row[:8]), row[8], bool(row[9]), row[10]) for row in rows]


def _entry(row: tuple[Any, ...]) -> Entry:
    key, stage, job, result, refusal, seconds, created, run = row
    return Entry(key, stage, json.loads(job), json.loads(result), json.loads(refusal or "{}"), seconds, created, run)


class Objects:
    """Files by the SHA-256 of their content; a file is whole or not there, and never changes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, sha256: str) -> Path:
        """Where the content lies.

        Raises:
            StorageError: it is not there.
        """
        path = self._place(sha256)
        if not path.is_file():
            raise StorageError(f"{path} is missing from the workspace; delete the workspace and run again")
        return path

    def holds(self, sha256: str) -> bool:
        """True when the content is there."""
        return self._place(sha256).is_file()

    def _place(self, sha256: str) -> Path:
        return self.folder / sha256[:2] / sha256

    def take(self, source: Path, *, format: str, parent: str = "", made_by: str = "") -> Artifact:
        """Move a finished file in (same file system: a rename) and say what it is."""
        sha256 = file_sha256(source)
        place = self._place(sha256)
        size = source.stat().st_size
        with telling_disk_errors(place):
            place.parent.mkdir(parents=True, exist_ok=True)
            if place.is_file():
                source.unlink()
            else:
                with source.open("rb") as file:
                    os.fsync(file.fileno())
                shutil.move(source, place)
                sync_folder(place.parent)
        return Artifact(sha256, format, size, parent, made_by)


class Workspace:
    """The folder that holds evidence, objects, prepared data and work in progress.

    Layout: ``evidence.db``, ``objects/``, ``data/<fingerprint>/``, ``scratch/<job key>/``.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.objects = Objects(self.root / "objects")

    def evidence(self) -> Evidence:
        """Open the evidence."""
        return Evidence(self.root / "evidence.db")

    def data_folder(self, fingerprint: str) -> Path:
        """Where prepared data of a fingerprint lies."""
        return self.root / "data" / fingerprint

    def scratch(self, key: str) -> Path:
        """A folder for one job's work in progress; it survives a kill, so that the job can continue."""
        folder = self.root / "scratch" / key
        with telling_disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        return folder

    def clear_scratch(self, key: str) -> None:
        """Remove a finished job's scratch folder."""
        shutil.rmtree(self.root / "scratch" / key, ignore_errors=True)


@contextmanager
def sole_holder(folder: Path) -> Iterator[None]:
    """Hold a run folder alone; the lock goes with the process, however it ends.

    Raises:
        StorageError: another process holds it (its id is named).
    """
    with telling_disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        handle = (folder / ".lock").open("a+")
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.seek(0)
            holder = handle.read().strip() or "unknown"
            raise StorageError(f"{folder} is in use by process {holder}; wait for it or end it") from None
        handle.seek(0)
        handle.truncate()
        handle.write(str(os.getpid()))
        handle.flush()
        yield
    finally:
        handle.close()


def write_json(path: Path, value: object) -> None:
    """Write a value's JSON form, indented, durably."""
    write_text(path, json.dumps(json.loads(canonical_json(value)), indent=1, ensure_ascii=False) + "\n")
