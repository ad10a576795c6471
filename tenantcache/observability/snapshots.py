"""What the processes of one machine know of each other's metrics: a directory with a small file of each.

A server has several workers on one port, and any of them may answer a scrape. So each writes its values every few
seconds, and the one that answers reads those of the others. This needs no store: metrics are wanted most while
stores are unavailable. prometheus_client's own files (PROMETHEUS_MULTIPROC_DIR) have no place for a collector.

Rules:

* A file is written aside and renamed, so a reader sees all of it or none. A write that fails leaves the last one.
* A process holds a lock of its own (flock) for as long as it runs, however it ends. So the kernel says whether it runs,
  in whatever container, and process ids that come again confuse nothing.
* Counters never fall if a process ends. The next reader adds its counters to the file of the ended, and then removes
  its own. The file of the ended names those that are in it, so one whose file could not be removed counts once.
* Readers take no lock that could make them wait. They read the ended, then the others, then the ended again: if that
  has changed meanwhile, they begin anew.
* Gauges of a process that has ended, or has not written for `STALE_AFTER` seconds, are left out. Age is measured by a
  clock that all processes of a machine share and that cannot be set.
* Each deployment (a database and a key prefix) has files of its own.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from tenantcache.observability.metric import Labels, Rows

logger = logging.getLogger(__name__)

FORMAT = 1

STALE_AFTER = 60.0
"""Seconds: a dozen writes."""

MAX_READS = 5
"""How often a reader begins anew while others fold."""

ENDED, FOLDING = "ended", "folding"

Values = Mapping[str, Rows]
"""Rows by the name of their metric."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What one process has written; `written_at` in seconds by `Directory`'s clock."""

    name: str
    process: int
    written_at: float
    values: Values
    runs: bool = True

    def age(self, now: float) -> float:
        return max(0.0, now - self.written_at)

    def is_current(self, now: float) -> bool:
        """Whether its gauges still say something. A time to come is that of an earlier boot."""
        return self.runs and now - STALE_AFTER <= self.written_at <= now


@dataclass(frozen=True, slots=True)
class Ended:
    """The counters of processes that have ended, added up; `folded` names those whose files may still be there."""

    values: Values = field(default_factory=dict)
    folded: tuple[str, ...] = ()
    generation: int = 0


class Directory:
    """`deployment` is in the names of all files. `grows` tells whether a metric, by its name, only grows.

    Methods raise nothing but OSError, and `read` not even that: what cannot be read counts as `unreadable`.
    """

    def __init__(self, path: Path, deployment: str, grows: Callable[[str], bool], clock: Callable[[], float]) -> None:
        self.unreadable: int = 0
        self._path, self._deployment, self._grows, self._clock = path, deployment, grows, clock
        self._name = ""
        self._lock: BinaryIO | None = None

    # Writing.

    def join(self) -> None:
        """Be one of the processes. Again is harmless."""
        if self._lock is None:
            self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._name = f"{os.getpid()}-{uuid.uuid4().hex[:12]}"
            self._lock = self._file(self._name, "lock").open("wb")
            fcntl.flock(self._lock, fcntl.LOCK_EX)

    def forget(self) -> None:
        """In a forked child: the name and its lock are the parent's, which keeps it."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def write(self, values: Values) -> None:
        self._stay()
        rows = {name: [[*labels, value] for labels, value in found.items()] for name, found in values.items() if found}
        self._put(self._name, {"process": os.getpid(), "written_at": self._clock(), "values": rows})

    def _stay(self) -> None:
        """Join, again if the directory was removed meanwhile, or emptied."""
        self.join()
        try:
            os.utime(self._file(self._name, "lock"))  # what cleans up temporary files goes by it
        except FileNotFoundError:
            with suppress(FileNotFoundError):
                self._file(self._name, "json").unlink()  # without its lock it would count as one that has ended
            self.forget()
            self.join()

    def _put(self, name: str, document: Mapping[str, Any]) -> None:
        written, final = self._file(name, "new"), self._file(name, "json")
        try:
            written.write_text(json.dumps({"format": FORMAT, **document}), encoding="utf-8")
            written.replace(final)
        except OSError:
            with suppress(OSError):
                written.unlink()
            raise

    def _file(self, name: str, ending: str) -> Path:
        return self._path / f"tenantcache-{self._deployment}-{name}.{ending}"

    # Reading.

    def read(self) -> tuple[Ended, list[Snapshot]]:
        """The ended, and the other processes. Those that have ended are folded by the way."""
        for _ in range(MAX_READS):
            ended, others = self._read_ended(), list(self._read_others())
            if self._read_ended().generation == ended.generation:
                break
        others = [each for each in others if each.name not in ended.folded]
        if over := [each for each in others if not each.runs]:
            with suppress(OSError):
                self._fold(over)
        return ended, others

    def _read_others(self) -> Iterator[Snapshot]:
        self.unreadable = 0
        start = self._file("", "json").name.removesuffix(".json")
        try:
            files = sorted(self._path.glob(f"{start}*.json"))
        except OSError:
            files = []
        for file in files:
            name = file.name.removeprefix(start).removesuffix(".json")
            if name in (self._name, ENDED):
                continue
            document = self._load(file)
            if document is not None:
                values = _values_of(document)
                yield Snapshot(name, int(document["process"]), document["written_at"], values, self._runs(name))

    def _read_ended(self) -> Ended:
        document = self._load(self._file(ENDED, "json"))
        if document is None:
            return Ended()
        return Ended(_values_of(document), tuple(document["folded"]), int(document["generation"]))

    def _load(self, file: Path) -> dict[str, Any] | None:
        """What is in `file`; None if it is not there, or cannot be read, or is of another version."""
        try:
            document = json.loads(file.read_bytes())
            known = isinstance(document, dict) and document.get("format") == FORMAT
            _values_of(document)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            known = False
        self.unreadable += not known
        return document if known else None

    def _runs(self, name: str) -> bool:
        """Whether that process holds its lock."""
        try:
            with self._file(name, "lock").open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except FileNotFoundError:
            return False
        except OSError:
            return True  # this file system has no locks: age has to tell
        return False

    # Folding.

    def _fold(self, over: Sequence[Snapshot]) -> None:
        """Add the counters of those that have ended to the ended, and remove their files. Raises OSError."""
        with self._alone() as alone:
            if not alone:
                return  # another process does it
            ended = self._read_ended()
            if not ended.generation and self._file(ENDED, "json").exists():
                return  # it cannot be read now, and must not be lost
            values = {name: dict(rows) for name, rows in ended.values.items()}
            new = [each for each in over if each.name not in ended.folded and self._file(each.name, "json").exists()]
            for each in new:
                for name, rows in each.values.items():
                    if self._grows(name):
                        held = values.setdefault(name, {})
                        for labels, value in rows.items():
                            held[labels] = held.get(labels, 0.0) + value
            kept = [name for name in ended.folded if self._file(name, "json").exists()]
            folded = [*kept, *(each.name for each in new)]
            rows_of = {name: [[*labels, value] for labels, value in rows.items()] for name, rows in values.items()}
            self._put(ENDED, {"values": rows_of, "folded": folded, "generation": ended.generation + 1})
            for name in folded:
                for ending in ("json", "new", "lock"):
                    with suppress(FileNotFoundError):
                        self._file(name, ending).unlink()

    @contextmanager
    def _alone(self) -> Iterator[bool]:
        """Whether no other process folds meanwhile."""
        with self._file(FOLDING, "lock").open("wb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                yield False
            else:
                yield True


def _values_of(document: Mapping[str, Any]) -> dict[str, Rows]:
    """Raises what a document of another shape does."""
    found: dict[str, Rows] = {}
    for name, rows in document["values"].items():
        labelled: dict[Labels, float] = {tuple(map(str, labels)): float(value) for *labels, value in rows}
        found[name] = labelled
    return found
