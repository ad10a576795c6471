"""Directories in memory for what servers write: on a disk a new database costs the kernel eight times as much."""

from __future__ import annotations

import shutil
from pathlib import Path

RAMDISK = Path("/dev/shm")
ROOM = 4 << 30
"""Bytes. Five workers with their servers take less than two GiB, and containers often have 64 MiB."""


def ramdisk() -> str | None:
    """What `tempfile` takes as `dir`: None, so its own choice, if the system has no ramdisk or a small one."""
    return str(RAMDISK) if RAMDISK.is_dir() and shutil.disk_usage(RAMDISK).free > ROOM else None
