"""The real things: Postgres, Redis, the workers, and the proxy between them. All of it ends when we do."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from benchmarks.consistency.writers import BASE_DOMAIN
from benchmarks.proxy import ProxyProcess
from tenantcache.devservers import HOST, DevServer, PostgresServer, RedisServer, spawn

T = TypeVar("T")

KEY_PREFIX = "consistency"


class Worker(DevServer):
    """One uvicorn process on a port of its own. `incarnation` counts its processes."""

    name = "uvicorn"

    def __init__(self, environment: Mapping[str, str]) -> None:
        super().__init__()
        self.incarnation = 0
        self._environment = environment

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def stop(self, signal_number: int | None = None) -> None:
        if self.running:
            self.signal(signal.SIGCONT)  # a stopped process does not hear that it is to end
        super().stop(signal_number)

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def stats(self) -> dict[str, Any]:
        """What the engine in there says of itself. Raises OSError."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=5)
        try:
            connection.request("GET", "/health/stats")
            found: dict[str, Any] = json.loads(connection.getresponse().read())
            return found
        except (http.client.HTTPException, ValueError) as error:
            raise OSError(str(error)) from error
        finally:
            connection.close()

    def _spawn(self) -> subprocess.Popen[bytes]:
        self.incarnation += 1
        options = {
            "--host": HOST,
            "--port": str(self.port),
            "--log-level": "error",
            "--timeout-graceful-shutdown": "1",
            # A worker that was stopped must not close, when it goes on, the connections that were quiet meanwhile.
            "--timeout-keep-alive": "60",
            "--ws": "none",
        }
        words = [word for option in options.items() for word in option]
        command = [sys.executable, "-m", "uvicorn", "benchmarks.consistency.app:app", "--no-access-log", *words]
        return spawn(command, env=self._environment)

    def _is_ready(self, pid: int) -> bool:
        try:
            return bool(self.stats()["ready"])
        except OSError:
            return False

    def _log_tail(self) -> str:
        return "its messages are above"


class Fleet:
    """`workers` of them, each with links of its own: `postgres-0`, `redis-0`, `postgres-1` ...

    `settings` are those of the workers, TENANTCACHE_ left out. Everything starts on `with` and ends after it.
    `data_dir` is that of Postgres, if one is there already: `initdb` takes as long as the start of a worker.
    """

    def __init__(self, workers: int, settings: Mapping[str, str], *, data_dir: Path | None = None) -> None:
        self._data_dir = data_dir
        self._size = workers
        self._settings = settings
        self._stack = ExitStack()
        # A child ends with the thread that started it: one thread for all, and it lasts as long as they do.
        self._thread = ThreadPoolExecutor(1)

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.callback(self._thread.shutdown)
            stack.callback(lambda: self._thread.submit(self._stack.close).result())
            self._thread.submit(self._start_stores).result()
            stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._thread.submit(self._stack.close).result()
        self._thread.shutdown()

    def _start_stores(self) -> None:
        directory = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="tenantcache-consistency-")))
        directory.chmod(0o755)  # Postgres may run as another account
        self.postgres = self._stack.enter_context(
            PostgresServer(self._data_dir or directory / "postgres", durable=True)
        )
        self.redis = self._stack.enter_context(RedisServer())
        targets = {f"postgres-{number}": self.postgres.port for number in range(self._size)}
        targets |= {f"redis-{number}": self.redis.port for number in range(self._size)}
        self.proxy = self._stack.enter_context(ProxyProcess(targets))

    async def start_workers(self) -> None:
        """Start the workers, each on its links. The schema has to be there."""
        self.workers = [Worker(self._environment(number)) for number in range(self._size)]
        for worker in self.workers:
            await self.do(partial(self._stack.enter_context, worker))

    async def do(self, work: Callable[[], T]) -> T:
        """Run what waits (a start, a stop) in the thread that may start children."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def links(self, store: str, workers: int | None = None) -> list[str]:
        """The names of the links to `store` ("postgres" or "redis") of the first `workers`, by default of all."""
        return [f"{store}-{number}" for number in range(workers or self._size)]

    def _environment(self, number: int) -> dict[str, str]:
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("TENANTCACHE_") and name not in ("DATABASE_URL", "REDIS_URL")
        }
        postgres, redis = self.proxy.ports[f"postgres-{number}"], self.proxy.ports[f"redis-{number}"]
        own = {
            "DATABASE_URL": f"postgresql://postgres@{HOST}:{postgres}/postgres",
            "REDIS_URL": f"redis://{HOST}:{redis}/0",
            "BASE_DOMAINS": BASE_DOMAIN,
            "BYPASS_PATHS": "/health",
            "LIMITS": "off",
            "KEY_PREFIX": KEY_PREFIX,
            "COPY_TTL": "3600",
            **self._settings,
        }
        copy_ttl = own.pop("COPY_TTL")  # shorter than the setting may be
        return kept | {"COPY_TTL": copy_ttl} | {f"TENANTCACHE_{name}": value for name, value in own.items()}
