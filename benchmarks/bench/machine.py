"""On what a figure was measured."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

PACKAGES = (
    "tenantcache", "starlette", "uvicorn", "uvloop", "httptools", "redis", "hiredis", "asyncpg", "slowapi", "limits",
    "throttled-py", "pyrate-limiter", "fastapi-limiter", "throttlekit-py", "cashews", "fastapi-tenancy",
    "fastapi-redis-sdk",
)  # fmt: skip


def describe() -> dict[str, Any]:
    """The machine, the versions and the date, as JSON."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "load generator": "wrk" if shutil.which("wrk") else "asyncio",
        "versions": {name: _version(name) for name in PACKAGES},
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
