"""Starts each ASGI server on an application, and sends it bytes that no well-behaved client would."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO

import asyncpg
import h2.config
import h2.connection
import h2.events

from tenantcache.devservers import HOST, free_port, spawn
from tests.end_to_end.workers import ROOT, our_environment
from tests.servers.databases import Databases

START_TIMEOUT = 30.0
ANSWER_TIMEOUT = 10.0

Headers = Sequence[tuple[bytes, bytes]]

SERVERS: Mapping[str, Sequence[str]] = {
    "uvicorn-h11": ("uvicorn", "--http", "h11", "--host", HOST, "--log-level", "warning", "--port"),
    "uvicorn-httptools": ("uvicorn", "--http", "httptools", "--host", HOST, "--log-level", "warning", "--port"),
    "hypercorn": ("hypercorn", "--workers", "0", "--bind"),  # 0: no process beside the first one
    "granian": ("granian", "--interface", "asgi", "--http", "auto", "--host", HOST, "--port"),
}
"""The command of each, without python; what comes next is the port."""

NO_ANSWER = 0
"""The status of a request that the server ended (connection closed, stream reset) without an answer."""


class Answer:
    """A status, and a body as text."""

    def __init__(self, status: int, body: str) -> None:
        self.status = status
        self.body = body

    @property
    def outcome(self) -> str:
        """As in hosts.json. What a server refuses by itself, with a 4xx or by hanging up, counts as 400."""
        if self.status == 200:
            return self.body
        return "400" if self.status in (NO_ANSWER, 400, 431) else str(self.status)


@contextmanager
def serving_tenants(commands: Mapping[str, Sequence[str]], databases: Databases) -> Iterator[Mapping[str, int]]:
    """Serve the tenants of hosts.json with the application in `hosts_app`, in a database of their own."""
    url = databases.create()
    asyncio.run(_add_tenants(url))
    environment = {"TENANTCACHE_DATABASE_URL": url, "TENANTCACHE_BASE_DOMAINS": "example.com,localhost"}
    with serving(commands, "tests.end_to_end.hosts_app:app", environment) as ports:
        yield ports
    databases.drop(url)


async def _add_tenants(url: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute("""
        insert into tenantcache.tenants (id, name, subdomain)
            values ('acme', 'Acme', 'acme'), ('globex', 'Globex', 'globex');
        insert into tenantcache.tenant_domains (domain, tenant_id)
            values ('shop.acme.io', 'acme'), ('xn--bcher-kva.example', 'acme');
    """)
    await connection.close()


@contextmanager
def serving(
    commands: Mapping[str, Sequence[str]], app: str, environment: Mapping[str, str]
) -> Iterator[Mapping[str, int]]:
    """Run these servers at once, on a port each; they start side by side. Commands as in `SERVERS`."""
    running: dict[str, tuple[subprocess.Popen[bytes], int, IO[bytes]]] = {}
    try:
        for name, command in commands.items():
            port = free_port()
            log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed below
            running[name] = (_start(command, app, port, environment, log), port, log)
        for name, (process, port, log) in running.items():
            _wait_until_ready(name, process, port, log)
        yield {name: port for name, (_, port, _) in running.items()}
    finally:
        for process, _, _ in running.values():
            process.terminate()
        for process, _, log in running.values():
            try:
                process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            log.close()


def _start(
    command: Sequence[str], app: str, port: int, environment: Mapping[str, str], log: IO[bytes]
) -> subprocess.Popen[bytes]:
    where = f"{HOST}:{port}" if command[0] == "hypercorn" else str(port)
    words = [sys.executable, "-m", *command, where, app]
    return spawn(words, output=log, cwd=ROOT, env={**our_environment(), **environment})


def _wait_until_ready(name: str, process: subprocess.Popen[bytes], port: int, log: IO[bytes]) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while True:
        try:
            if send_bytes(port, request(b"localhost")).status == 200:
                return
        except OSError:
            pass
        if process.poll() is not None or time.monotonic() > deadline:
            log.seek(os.SEEK_SET)
            raise AssertionError(f"{name} does not serve:\n{log.read().decode(errors='replace')[-4000:]}")
        time.sleep(0.02)


def request(host: bytes | None, headers: Headers = (), target: bytes = b"/", version: bytes = b"1.1") -> bytes:
    """A GET of HTTP/1, as it goes over the wire; no Host line where `host` is None."""
    lines = [b"GET " + target + b" HTTP/" + version]
    lines += [] if host is None else [b"Host: " + host]
    lines += [name + b": " + value for name, value in headers]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def send_bytes(port: int, data: bytes, source: str = HOST) -> Answer:
    """Send it on a connection of its own, from the address `source`; return the first answer.

    Raises TimeoutError if nothing comes.
    """
    with socket.create_connection((HOST, port), timeout=ANSWER_TIMEOUT, source_address=(source, 0)) as link:
        link.sendall(data)
        received = b""
        while (answer := _first_answer(received)) is None:
            try:
                chunk = link.recv(65_536)
            except ConnectionResetError:
                chunk = b""
            if not chunk:
                head = received.partition(b"\r\n\r\n")[0]
                return Answer(int(head.split()[1]) if head else NO_ANSWER, "")
            received += chunk
        return answer


def _first_answer(received: bytes) -> Answer | None:
    """The answer that is whole; None if it is not, or if only the end of the connection tells."""
    head, found, body = received.partition(b"\r\n\r\n")
    status, *lines = head.lower().split(b"\r\n")
    length = next((int(line[15:]) for line in lines if line.startswith(b"content-length:")), None)
    if not found or length is None or len(body) < length:
        return None
    return Answer(int(status.split()[1]), body[:length].decode())


def send_h2(port: int, headers: Headers) -> Answer:
    """Send one GET of HTTP/2 with prior knowledge (RFC 9113 3.3), whatever is wrong with its `headers`."""
    config = h2.config.H2Configuration(
        header_encoding=None, validate_outbound_headers=False, normalize_outbound_headers=False
    )
    client = h2.connection.H2Connection(config)
    client.initiate_connection()
    method = [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/")]
    client.send_headers(1, [*method, *headers], end_stream=True)
    status, body = NO_ANSWER, b""
    with socket.create_connection((HOST, port), timeout=ANSWER_TIMEOUT) as link:
        link.sendall(client.data_to_send())
        while data := link.recv(65_536):
            for event in client.receive_data(data):
                if isinstance(event, h2.events.ResponseReceived):
                    status = int(dict(event.headers)[b":status"])
                elif isinstance(event, h2.events.DataReceived):
                    body += event.data
                elif isinstance(event, h2.events.StreamEnded):
                    return Answer(status, body.decode())
                elif isinstance(event, (h2.events.StreamReset, h2.events.ConnectionTerminated)):
                    return Answer(NO_ANSWER, "")
            link.sendall(client.data_to_send())
    return Answer(status, body.decode())
