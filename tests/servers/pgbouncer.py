"""A real PgBouncer in transaction mode in front of a Postgres: Debian's, if there is one."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import pytest

from tenantcache.devservers import HOST
from tenantcache.devservers.server import Account, DevServer, spawn, tail

PROGRAM = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin")

CONFIGURATION = """
[databases]
* = host={host} port={port} user={user}
[pgbouncer]
listen_addr = {listen_host}
listen_port = {listen_port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {servers}
query_wait_timeout = {query_wait_timeout}
server_lifetime = {server_lifetime}
server_idle_timeout = 1
"""


def require_pgbouncer() -> None:
    """Skip the test if there is no PgBouncer; fail it if REQUIRE_SERVERS=1 says that there has to be one."""
    if PROGRAM is None:
        if os.environ.get("REQUIRE_SERVERS") == "1":
            pytest.fail("there is no pgbouncer, and REQUIRE_SERVERS=1 wants one: apt-get install pgbouncer")
        pytest.skip("there is no pgbouncer: apt-get install pgbouncer")


class PgBouncer(DevServer):
    """In front of the server of `url`. `servers` is how many connections to it all clients share; times in seconds."""

    name = "PgBouncer"

    def __init__(self, url: str, *, servers: int = 2, query_wait_timeout: int = 1, server_lifetime: int = 1) -> None:
        super().__init__()
        self._parts = urlsplit(url)
        self._sizes = {"servers": servers, "query_wait_timeout": query_wait_timeout, "server_lifetime": server_lifetime}

    @property
    def url(self) -> str:
        return self._parts._replace(netloc=f"{self._parts.username}@{HOST}:{self.port}").geturl()

    def __enter__(self) -> Self:
        self._directory = tempfile.TemporaryDirectory(prefix="tenantcache-pgbouncer-")
        Path(self._directory.name).chmod(0o755)
        return super().__enter__()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        super().__exit__(kind, error, at)
        self._directory.cleanup()

    def _spawn(self) -> subprocess.Popen[bytes]:
        configuration = Path(self._directory.name) / "pgbouncer.ini"
        configuration.write_text(
            CONFIGURATION.format(
                host=self._parts.hostname,
                port=self._parts.port,
                user=self._parts.username,
                listen_host=HOST,
                listen_port=self.port,
                **self._sizes,
            )
        )
        nobody = pwd.getpwnam("nobody")
        # It refuses to run as root.
        account = Account(nobody.pw_uid, nobody.pw_gid) if os.geteuid() == 0 else None
        with self._log.open("wb") as output:
            return spawn([str(PROGRAM), str(configuration)], output=output, account=account)

    def _is_ready(self, pid: int) -> bool:
        try:
            socket.create_connection((HOST, self.port), timeout=1).close()
        except OSError:
            return False
        return True

    @property
    def _log(self) -> Path:
        return Path(self._directory.name) / "output"

    def _log_tail(self) -> str:
        return tail(self._log.read_bytes()) if self._log.exists() else "(no log)"
