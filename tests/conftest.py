"""Fixtures: one real Postgres and one real Redis for the whole run, fresh contents for each test.

`database_url`     a new database with the schema installed, dropped afterwards
`empty_database_url`  a new database without anything in it
`redis_url`        the session's Redis, emptied before the test
`redis_cluster`    six Redis processes that are one cluster, emptied; `redis_cluster_url` is that of one of them
`billed_commands`  what that Redis would have billed since the test began
`run`              a command, in the test's process; `client` is that of Redis (`commandline`)
`postgres`, `admin`  connections to `database_url` (`connections`)
`patience`         no answer of a store comes too late, for a test that is not about that

A test that stops, kills or pauses a server starts one of its own: `postgres_factory`, `redis_factory`.
"""

from __future__ import annotations

import itertools
import os
import signal
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tenantcache.devservers import PostgresServer, RedisServer
from tests.servers.billing import BilledCommands
from tests.servers.cluster import RedisCluster
from tests.servers.databases import EMPTY, Databases, make_templates
from tests.servers.storage import copy_data_dir, made_once
from tests.thorough import effort

pytest_plugins = [
    "tests.commandline",
    "tests.connections",
    "tests.garbage",
    "tests.hangs",
    "tests.patience",
    "tests.schedule",
    "tests.servers.rundir",
]

# How long one example takes depends on the machine; each test has a limit as a whole.
settings.register_profile(
    "any machine", deadline=None, max_examples=effort(25, 100), suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")


def pytest_configure() -> None:
    """A run in the background of a script has SIGINT ignored, or SIGHUP below nohup, and all processes inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings of the person who runs the tests must not reach the code under test."""
    for name in list(os.environ):
        if name.startswith("TENANTCACHE_") or name in ("DATABASE_URL", "REDIS_URL"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def server_dir(run_dir: Path) -> Iterator[Path]:
    """Of this worker."""
    with tempfile.TemporaryDirectory(dir=run_dir) as path:
        Path(path).chmod(0o755)
        yield Path(path)


@pytest.fixture(scope="session")
def fresh_data_dir(run_dir: Path) -> Path:
    """What `initdb` makes, for servers that begin with a copy."""

    def make(data_dir: Path) -> None:
        with PostgresServer(data_dir):
            pass

    return made_once(run_dir / "fresh", make)


@pytest.fixture
def data_dir(server_dir: Path, fresh_data_dir: Path, tmp_path: Path) -> Path:
    """The same for a server of the test's own, started by something that takes a directory."""
    copy_data_dir(fresh_data_dir, server_dir / tmp_path.name)
    return server_dir / tmp_path.name


@pytest.fixture(scope="session")
def stocked_data_dir(run_dir: Path, fresh_data_dir: Path) -> Path:
    """The same with the databases that those of the tests are copied from."""

    def make(data_dir: Path) -> None:
        copy_data_dir(fresh_data_dir, data_dir)
        with PostgresServer(data_dir) as server:
            make_templates(server)

    return made_once(run_dir / "stocked", make)


@pytest.fixture(scope="session")
def postgres_server(server_dir: Path, stocked_data_dir: Path) -> Iterator[PostgresServer]:
    copy_data_dir(stocked_data_dir, server_dir / "postgres")
    # Nothing is replicated from it, so that a copy of a database need not be in its log.
    options = {"max_connections": "200", "wal_level": "minimal", "max_wal_senders": "0", "max_wal_size": "128MB"}
    with PostgresServer(server_dir / "postgres", options=options) as server:
        yield server


@pytest.fixture(scope="session")
def databases(postgres_server: PostgresServer) -> Iterator[Databases]:
    databases = Databases(postgres_server)
    yield databases
    databases.close()


@pytest.fixture
def database_url(databases: Databases) -> Iterator[str]:
    url = databases.create()
    yield url
    databases.drop(url)


@pytest.fixture
def empty_database_url(databases: Databases) -> Iterator[str]:
    url = databases.create(EMPTY)
    yield url
    databases.drop(url)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="session")
def _session_billing(redis_server: RedisServer) -> Iterator[BilledCommands]:
    billing = BilledCommands(redis_server.url)
    yield billing
    billing.close()


@pytest.fixture
def billed_commands(_session_billing: BilledCommands) -> BilledCommands:
    _session_billing.flush()
    return _session_billing


@pytest.fixture
def redis_url(redis_server: RedisServer, billed_commands: BilledCommands) -> str:
    return redis_server.url


@pytest.fixture(scope="session")
def session_redis_cluster() -> Iterator[RedisCluster]:
    with (
        tempfile.TemporaryDirectory(prefix="tenantcache-cluster-") as directory,
        RedisCluster(Path(directory)) as found,
    ):
        found.expect_no_failure()
        yield found


@pytest.fixture
def redis_cluster(session_redis_cluster: RedisCluster) -> RedisCluster:
    session_redis_cluster.flush()
    return session_redis_cluster


@pytest.fixture
def redis_cluster_url(redis_cluster: RedisCluster) -> str:
    return redis_cluster.url


@pytest.fixture
def postgres_factory(server_dir: Path, fresh_data_dir: Path) -> Iterator[Callable[..., PostgresServer]]:
    """Start a Postgres for one test alone (0.1 s): `postgres_factory(options={...})`.

    All are copies of one and have its identity, so that a test of two servers makes them itself.
    """
    numbers = itertools.count()
    with ExitStack() as stack:

        def start(options: Mapping[str, str] | None = None) -> PostgresServer:
            with tempfile.TemporaryDirectory(dir=server_dir) as unique:
                data_dir = server_dir / f"postgres-{Path(unique).name}-{next(numbers)}"
            copy_data_dir(fresh_data_dir, data_dir)
            return stack.enter_context(PostgresServer(data_dir, options=options))

        yield start


@pytest.fixture
def redis_factory() -> Iterator[Callable[..., RedisServer]]:
    """Start a Redis for one test alone (20 ms): `redis_factory(options={"maxmemory": "5mb"})`."""
    with ExitStack() as stack:
        yield lambda options=None: stack.enter_context(RedisServer(options=options))
