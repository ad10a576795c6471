"""Storage snapshots of a Postgres: taken and put back behind its back, as a cloud's console does it."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from tenantcache.devservers import PostgresServer


def take_snapshot(server: PostgresServer, target: Path) -> None:
    """Copy everything that `server` has on its disk; it is stopped for that."""
    server.stop()
    shutil.copytree(server.data_dir, target, copy_function=shutil.copy2)
    server.start()


def put_back(server: PostgresServer, snapshot: Path) -> None:
    server.stop()
    owner = server.data_dir.stat()
    shutil.rmtree(server.data_dir)
    _copy(snapshot, server.data_dir, owner)
    server.start()


def copy_data_dir(stopped: Path, target: Path) -> None:
    """Make a data directory from one that no server uses: a fifth of what `initdb` costs."""
    _copy(stopped, target, stopped.stat())


def made_once(target: Path, make: Callable[[Path], None]) -> Path:
    """Have `make` make the directory `target`, unless another process has. One that is killed in it leaves nothing."""
    with target.with_name(f"{target.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            with tempfile.TemporaryDirectory(dir=target.parent) as aside:
                Path(aside).chmod(0o755)
                make(Path(aside) / target.name)
                (Path(aside) / target.name).rename(target)
    return target


def _copy(source: Path, target: Path, owner: os.stat_result) -> None:
    shutil.copytree(source, target)
    for path in (target, *target.rglob("*")):
        shutil.chown(path, owner.st_uid, owner.st_gid)
