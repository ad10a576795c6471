"""The proxy does to a connection what its faults are named after."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from benchmarks.proxy import HOST, Fault, ProxyProcess

QUIET = 0.2
"""Seconds after which silence counts as silence."""


class EchoServer:
    """Sends back what it gets. `lost` is set once a client has gone."""

    def __init__(self) -> None:
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        self.lost = threading.Event()
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._echo, args=(connection,), daemon=True).start()

    def _echo(self, connection: socket.socket) -> None:
        with connection:
            try:
                while data := connection.recv(1024):
                    connection.sendall(data)
            except ConnectionResetError:
                pass
        self.lost.set()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)


@pytest.fixture
def echo() -> Iterator[EchoServer]:
    server = EchoServer()
    yield server
    server.close()


@pytest.fixture
def proxy(echo: EchoServer) -> Iterator[ProxyProcess]:
    with ProxyProcess({"one": echo.port, "other": echo.port}) as proxy:
        yield proxy


@pytest.fixture
def client(proxy: ProxyProcess) -> Iterator[socket.socket]:
    with connect(proxy) as connection:
        assert echoed(connection, b"hello") == b"hello"
        yield connection


def connect(proxy: ProxyProcess, link: str = "one") -> socket.socket:
    return socket.create_connection((HOST, proxy.ports[link]), timeout=5)


def echoed(connection: socket.socket, data: bytes) -> bytes:
    connection.sendall(data)
    return connection.recv(1024)


def is_silent(connection: socket.socket) -> bool:
    connection.settimeout(QUIET)
    try:
        connection.recv(1024)
    except TimeoutError:
        return True
    finally:
        connection.settimeout(5)
    return False


def test_a_stalled_link_says_nothing_and_delivers_late(proxy: ProxyProcess, client: socket.socket) -> None:
    proxy.set(Fault.STALL, ["one"])
    client.sendall(b"late")
    with connect(proxy) as newcomer:
        newcomer.sendall(b"later")
        assert is_silent(client)
        assert is_silent(newcomer)
        proxy.heal()
        assert client.recv(1024) == b"late"
        assert newcomer.recv(1024) == b"later"


def test_a_cut_link_resets_what_is_there_and_what_comes(proxy: ProxyProcess, client: socket.socket) -> None:
    proxy.set(Fault.CUT, ["one"])
    with pytest.raises(ConnectionResetError):
        client.recv(1024)
    with pytest.raises(ConnectionResetError), connect(proxy) as newcomer:
        newcomer.recv(1024)
    proxy.heal()
    with connect(proxy) as later:
        assert echoed(later, b"again") == b"again"


def test_a_half_open_link_loses_the_server_without_a_word(
    proxy: ProxyProcess, client: socket.socket, echo: EchoServer
) -> None:
    proxy.set(Fault.HALF_OPEN, ["one"])
    assert echo.lost.wait(5)
    client.sendall(b"is anybody there?")
    assert is_silent(client)
    with connect(proxy) as newcomer:
        assert echoed(newcomer, b"hello") == b"hello"


def test_a_fault_happens_to_its_own_link_alone(proxy: ProxyProcess) -> None:
    proxy.set(Fault.STALL, ["one"])
    with connect(proxy, "other") as other:
        assert echoed(other, b"hello") == b"hello"


def test_an_end_is_passed_on(client: socket.socket, echo: EchoServer) -> None:
    client.shutdown(socket.SHUT_WR)
    assert client.recv(1024) == b""
    assert echo.lost.wait(5)


def test_a_server_that_is_away_is_a_reset() -> None:
    with socket.socket() as unused:
        unused.bind((HOST, 0))
        port = unused.getsockname()[1]
    with ProxyProcess({"nowhere": port}) as proxy, pytest.raises(ConnectionResetError):
        connect(proxy, "nowhere").recv(1024)
