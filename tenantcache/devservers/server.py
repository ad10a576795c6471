"""What both development servers share: a child process with a port, a log, a start and a stop."""

from __future__ import annotations

import atexit
import ctypes
import importlib.util
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, NamedTuple, Self

from tenantcache.errors import TenantCacheError

HOST = "127.0.0.1"
START_TIMEOUT = 30.0
"""Seconds. A warm Postgres is up in 0.1 s; a recovery on a slow disk may take many times that."""
STOP_TIMEOUT = 10.0
"""Seconds until an orderly stop becomes a SIGKILL."""
POLL_INTERVAL = 0.01
PORT_ATTEMPTS = 3
LOWEST_PORT = 10_000
PORTS_OF_CONNECTIONS = Path("/proc/sys/net/ipv4/ip_local_port_range")
PR_SET_PDEATHSIG = 1  # linux/prctl.h


class DevServerError(TenantCacheError):
    """A development server could not be found, made or started. The text holds the end of its log."""


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that is free, and that is given to no other caller for a minute.

    A server takes it with SO_REUSEADDR, as servers do. It is below the ports that the kernel gives to connections. Any
    connection may take one of those, even while the server that had it restarts.
    """
    for _ in range(100):
        with socket.socket() as probe:
            try:
                probe.bind((HOST, random.randrange(LOWEST_PORT, _first_port_of_connections())))
            except OSError:
                continue
            return _kept(probe)
    raise DevServerError(f"100 ports of {HOST} were tried, and none is free")


def _kept(bound: socket.socket) -> int:
    """Leave a connection in TIME_WAIT at its port: until that ends, no `bind` without SO_REUSEADDR gets it."""
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.listen(1)
    address: tuple[str, int] = bound.getsockname()
    with socket.create_connection(address) as connection:
        accepted, _ = bound.accept()
        accepted.close()  # first, since TIME_WAIT stays with the side that does
        connection.recv(1)
    return address[1]


def _first_port_of_connections() -> int:
    try:
        return max(LOWEST_PORT + 1_000, int(PORTS_OF_CONNECTIONS.read_text().split()[0]))
    except OSError:
        return 32_768  # below those of macOS and the BSDs, which begin at 49152


def is_taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return True
    return False


def package_dir(name: str) -> Path | None:
    """Find an installed package without importing it: both wheels do work at import that is not wanted here."""
    spec = importlib.util.find_spec(name)
    return Path(spec.origin).parent if spec and spec.origin else None


class Account(NamedTuple):
    """A system account to run a child process as."""

    uid: int
    gid: int


def spawn(
    command: Sequence[str],
    *,
    output: IO[bytes] | None = None,
    stop_signal: int = signal.SIGTERM,
    account: Account | None = None,
    cwd: Path | str | None = None,
    env: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start a child that does not outlive us, in a session of its own; `output` None is our own output.

    `stop_signal` is what the kernel sends it when the calling thread ends.
    """
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        cwd=cwd,
        env=env,
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=[] if account else None,
        start_new_session=True,
        # The function makes two system calls and nothing else, which is safe in a process with threads.
        preexec_fn=_die_with_parent(stop_signal),  # noqa: PLW1509
    )


def _die_with_parent(signal_number: int) -> Callable[[], None] | None:
    """Return a `preexec_fn` that has the kernel send `signal_number` when the starting thread ends (Linux only)."""
    if sys.platform != "linux":
        return None
    # Loaded before the fork: the child of a process with threads must not allocate or import.
    prctl = ctypes.CDLL(None).prctl
    parent = os.getpid()

    def ask_kernel() -> None:
        prctl(PR_SET_PDEATHSIG, signal_number)
        if os.getppid() != parent:  # it died between the fork and the line above
            os._exit(1)

    return ask_kernel


class DevServer:
    """What both servers share: a child process with a port, a log file, a start and a stop.

    `port` (TCP) is chosen at the first start and kept over restarts, unless it was given.
    """

    name = "server"
    stop_signal = signal.SIGTERM

    def __init__(self, port: int | None = None) -> None:
        self._fixed_port = port is not None
        self.port: int = port or free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        raise NotImplementedError

    @property
    def pid(self) -> int:
        """Process id of the running server."""
        if self.process is None:
            raise DevServerError(f"{self.name} is not running: call start() first")
        return self.process.pid

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self) -> Self:
        """Start and wait until it answers; does nothing if it runs. Raises DevServerError."""
        for attempt in range(1, PORT_ATTEMPTS + 1):
            if self.running:
                return self
            try:
                self._start_once()
            except DevServerError:
                # The port was free when we looked; another process may have taken it since.
                if self._fixed_port or attempt == PORT_ATTEMPTS or not is_taken(self.port):
                    raise
                self.port = free_port()
        self._fixed_port = True
        return self

    def stop(self, signal_number: int | None = None) -> None:
        """Stop and wait for the end: `stop_signal` unless told otherwise, SIGKILL after 10 s. May be called twice."""
        process, self.process = self.process, None
        atexit.unregister(self.stop)
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(signal_number or self.stop_signal)
        try:
            process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def restart(self) -> Self:
        """Stop and start again, on the same port."""
        self.stop()
        return self.start()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def _start_once(self) -> None:
        atexit.register(self.stop)
        try:
            self.process = self._spawn()
            self._wait_until_ready(self.process)
        except BaseException:
            self.stop()
            raise

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while not self._is_ready(process.pid):
            if process.poll() is not None:
                raise DevServerError(f"{self.name} ended at once (status {process.returncode}):\n{self._log_tail()}")
            if time.monotonic() > deadline:
                raise DevServerError(f"{self.name} did not answer within {START_TIMEOUT:.0f} s:\n{self._log_tail()}")
            time.sleep(POLL_INTERVAL)

    def _spawn(self) -> subprocess.Popen[bytes]:
        raise NotImplementedError

    def _is_ready(self, pid: int) -> bool:
        raise NotImplementedError

    def _log_tail(self) -> str:
        raise NotImplementedError


def tail(log: bytes, lines: int = 15) -> str:
    """Return the last lines of a log as text."""
    return "\n".join(log.decode(errors="replace").splitlines()[-lines:])
