"""The real things: Postgres, Redis, uvicorn workers and load generators. All of it ends when we do."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import asyncpg

from benchmarks.over_admission.judge import Counts
from benchmarks.over_admission.plan import BASE_DOMAIN, Plan, TenantLoad
from tenantcache.devservers import HOST, DevServer, PostgresServer, RedisServer, spawn
from tenantcache.schema import install as schema

ROOT = Path(__file__).parents[2]
GENERATORS = 2


class Worker(DevServer):
    """One uvicorn process on a port of its own; `log` is where it writes."""

    name = "uvicorn"

    def __init__(self, environment: Mapping[str, str], log: Path) -> None:
        super().__init__()
        self._environment = environment
        self._log = log

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def stats(self) -> dict[str, Any]:
        """What the engine says of itself. Raises OSError."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=5)
        try:
            connection.request("GET", "/internal/stats")
            found: dict[str, Any] = json.loads(connection.getresponse().read())
            return found
        except (http.client.HTTPException, ValueError) as error:
            raise OSError(str(error)) from error
        finally:
            connection.close()

    def _spawn(self) -> subprocess.Popen[bytes]:
        words = ["--host", HOST, "--port", str(self.port), "--log-level", "warning", "--timeout-keep-alive", "60"]
        words += ["--ws", "none"]
        command = [sys.executable, "-m", "uvicorn", "benchmarks.over_admission.app:app", "--no-access-log", *words]
        with self._log.open("ab") as log:
            return spawn(command, output=log, env=self._environment, cwd=ROOT)

    def _is_ready(self, pid: int) -> bool:
        try:
            found = self.stats()
        except OSError:
            return False
        return found["pid"] == pid and bool(found["ready"])

    def _log_tail(self) -> str:
        return self.log[-2000:]


class Fleet:
    """`with Fleet(4, tenants) as fleet`: the stores with the tenants in them, and the workers.

    `data_dir` is that of Postgres, if one is there already: `initdb` takes as long as the start of a worker.
    """

    def __init__(
        self,
        size: int,
        tenants: Sequence[TenantLoad],
        *,
        has_redis: bool = True,
        redis_is_up: bool = True,
        data_dir: Path | None = None,
    ) -> None:
        self._size, self._tenants, self._has_redis = size, tenants, has_redis
        self._redis_is_up = redis_is_up
        self._data_dir = data_dir
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tenantcache-over-admission-")))
            directory.chmod(0o755)  # Postgres may run as another account
            self.postgres = stack.enter_context(PostgresServer(self._data_dir or directory / "postgres"))
            self.redis = stack.enter_context(RedisServer())
            asyncio.run(self._install())
            if not self._redis_is_up:
                self.redis.stop()
            self.workers = [Worker(self._environment(), directory / f"worker-{n}") for n in range(self._size)]
            for worker in self.workers:
                stack.enter_context(worker)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stack.close()

    def _environment(self) -> dict[str, str]:
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("TENANTCACHE_") and name not in ("DATABASE_URL", "REDIS_URL")
        }
        redis = {"TENANTCACHE_REDIS_URL": self.redis.url} if self._has_redis else {}
        return (
            kept
            | redis
            | {
                "TENANTCACHE_DATABASE_URL": self.postgres.url,
                "TENANTCACHE_BASE_DOMAINS": BASE_DOMAIN,
                "TENANTCACHE_BYPASS_PATHS": "/internal",
                "TENANTCACHE_LIMIT_PER_DAY": "0",
            }
        )

    async def _install(self) -> None:
        connection = await asyncpg.connect(self.postgres.url)
        try:
            await schema.install(connection)
            await connection.executemany(
                "insert into tenantcache.tenants (id, name, subdomain, limit_per_minute, limit_per_day)"
                " values ($1, $1, $1, $2, $3)",
                [(name, tenant.limit, tenant.per_day) for tenant in self._tenants for name in tenant.names],
            )
        finally:
            await connection.close()

    def start_load(self, until: float) -> list[subprocess.Popen[bytes]]:
        plan = Plan(tuple(worker.port for worker in self.workers), until, tuple(self._tenants))
        return [self._start_generator(plan) for _ in range(GENERATORS)]

    @staticmethod
    def _start_generator(plan: Plan) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.over_admission.load"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
        )
        assert process.stdin is not None
        process.stdin.write(plan.to_json().encode())
        process.stdin.close()
        process.stdin = None
        return process

    def collect(self, generators: Sequence[subprocess.Popen[bytes]]) -> dict[str, Counts]:
        """Wait for the generators, and add up what they have counted."""
        parts = [json.loads(generator.communicate(timeout=600)[0]) for generator in generators]
        return {tenant.name: Counts.sum(part[tenant.name] for part in parts) for tenant in self._tenants}
