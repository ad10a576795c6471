"""A real nginx in front of an application: Debian's, if there is one."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from tenantcache.devservers import HOST, spawn

PROGRAM = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
START_TIMEOUT = 10.0

CONFIGURATION = """
daemon off;
master_process off;
pid {directory}/nginx.pid;
error_log {directory}/error.log warn;
events {{}}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    {servers}
}}
"""


def require_nginx() -> None:
    """Skip the test if there is no nginx; fail it if REQUIRE_SERVERS=1 says that there has to be one."""
    if PROGRAM is None:
        if os.environ.get("REQUIRE_SERVERS") == "1":
            pytest.fail("there is no nginx, and REQUIRE_SERVERS=1 wants one: apt-get install nginx-light")
        pytest.skip("there is no nginx: apt-get install nginx-light")


class Nginx:
    """`with Nginx(servers, ports):` runs one process with these `server` blocks, which listen on `ports`."""

    def __init__(self, servers: str, ports: list[int]) -> None:
        self._servers = servers
        self._ports = ports

    def __enter__(self) -> Self:
        self._directory = tempfile.TemporaryDirectory(prefix="tenantcache-nginx-")
        directory = Path(self._directory.name)
        directory.chmod(0o755)
        configuration = directory / "nginx.conf"
        configuration.write_text(CONFIGURATION.format(directory=directory, servers=self._servers))
        with (directory / "output").open("wb") as output:
            command = [str(PROGRAM), "-p", str(directory), "-c", str(configuration), "-e", str(directory / "error.log")]
            self._process = spawn(command, output=output)
        try:
            for port in self._ports:
                self._wait_for(port)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def _wait_for(self, port: int) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            try:
                socket.create_connection((HOST, port), timeout=1).close()
                return
            except OSError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    logs = [Path(self._directory.name) / name for name in ("output", "error.log")]
                    told = "".join(log.read_text(errors="replace") for log in logs if log.exists())
                    raise AssertionError(f"nginx does not serve:\n{told[-4000:]}") from None
                time.sleep(0.02)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._directory.cleanup()
