"""What is told of servers that cannot be used, on real ones: what happened, and what would mend it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest
import redis

from tenantcache.budget.core.meter import Purpose
from tenantcache.devservers import DevServerError, PostgresServer, RedisServer, free_port
from tenantcache.errors import StoreError
from tenantcache.schema import install as schema
from tenantcache.settings.postgresurl import postgres_url
from tenantcache.stores.postgres import PostgresTenants
from tenantcache.stores.reasons import postgres_reason
from tenantcache.stores.redis import RedisLink
from tests.servers.certificates import Certificate, make_certificate
from tests.servers.databases import Databases
from tests.servers.tlsfront import tls_front

WRONG_HOST = "no-such-host.invalid"


async def told_by_redis(url: str) -> str:
    link = RedisLink(url, timeout=2.0)
    with pytest.raises(StoreError) as caught:
        await link.open()
    await link.close()
    assert "secret" not in str(caught.value)
    return str(caught.value)


async def told_by_postgres(url: str) -> str:
    store = PostgresTenants(postgres_url(url), timeout=5.0)
    await store.open()
    with pytest.raises(StoreError) as caught:
        await store.fetch("asking", "select 1")
    await store.close()
    assert "secret" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def own_dir(server_dir: Path, request: pytest.FixtureRequest) -> Path:
    path = server_dir / f"reasons-{abs(hash(request.node.name))}"
    path.mkdir(mode=0o755)
    return path


# --- Redis


async def test_a_redis_that_is_not_there_is_not_told_to_have_hung_up() -> None:
    for host in ("127.0.0.1", "localhost"):
        told = await told_by_redis(f"redis://:secret@{host}:{free_port()}")
        assert told == "Redis is not running (connection refused); start it, or correct host and port"
    assert await told_by_redis(f"redis://:secret@{WRONG_HOST}") == (
        "Redis cannot be found (no such host name); correct the host"
    )


async def test_a_redis_socket_that_is_not_there(tmp_path: Path) -> None:
    assert await told_by_redis(f"unix://{tmp_path}/none.sock") == (
        "Redis is not running (its socket is not there); start it, or correct the path"
    )


async def test_a_redis_with_too_many_clients(redis_factory: Callable[..., RedisServer]) -> None:
    server = redis_factory(options={"maxclients": "1"})
    client = redis.Redis.from_url(server.url)
    client.ping()
    assert await told_by_redis(server.url) == (
        "Redis has no connection left (max number of clients reached); raise maxclients, or stop clients"
    )
    client.close()


@pytest.fixture
def tls_redis(own_dir: Path, redis_factory: Callable[..., RedisServer]) -> Iterator[tuple[int, Certificate]]:
    """The port at which a Redis speaks TLS, and its certificate, which is for localhost."""
    certificate, port = make_certificate(own_dir, "localhost"), free_port()
    options = {
        "tls-port": str(port),
        "tls-cert-file": str(certificate.file),
        "tls-key-file": str(certificate.key),
        "tls-ca-cert-file": str(certificate.file),
        "tls-auth-clients": "no",
    }
    try:
        redis_factory(options=options)
    except DevServerError:
        if os.environ.get("REQUIRE_SERVERS"):
            raise
        pytest.skip("this Redis was built without TLS")
    yield port, certificate


async def test_a_redis_with_tls(tls_redis: tuple[int, Certificate], redis_url: str) -> None:
    port, certificate = tls_redis
    told = await told_by_redis(f"rediss://:secret@localhost:{port}")
    assert told.startswith("Redis has a certificate that is not trusted (self")
    assert told.endswith("give the file of its authority: ssl_ca_certs=/path/ca.pem")
    told = await told_by_redis(f"rediss://127.0.0.1:{port}?ssl_ca_certs={certificate.file}")
    assert told.startswith("Redis has a certificate for another name (IP address mismatch")
    assert await told_by_redis(f"redis://127.0.0.1:{port}") == (
        "Redis hung up; is it another server's port, or one that wants TLS?"
    )
    assert await told_by_redis(redis_url.replace("redis:", "rediss:")) == (
        "Redis did not answer in time; does it speak TLS there?"
    )
    link = RedisLink(f"rediss://localhost:{port}?ssl_ca_certs={certificate.file}")
    await link.open()
    await link.close()


async def test_the_reason_outlives_the_breaker() -> None:
    link = RedisLink(f"redis://127.0.0.1:{free_port()}")
    told = []
    for _ in range(5):
        with pytest.raises(StoreError) as caught:
            await link.run(Purpose.LOOKUP, "GET", "a")
        told.append(str(caught.value))
    await link.close()
    refused = "Redis is not running (connection refused); start it, or correct host and port"
    assert told == [refused] * 3 + [f"{refused} (not asked again yet)"] * 2


# --- Postgres


async def test_a_postgres_that_is_not_there() -> None:
    for host in ("127.0.0.1", "localhost"):
        told = await told_by_postgres(f"postgresql://u:secret@{host}:{free_port()}/d")
        assert told.startswith("Postgres is not running (connection refused); start it, or correct host and port")
    assert "cannot be found (no such host name)" in await told_by_postgres(f"postgresql://u:secret@{WRONG_HOST}/d")


async def test_a_postgres_without_tls_that_is_asked_for_it(database_url: str) -> None:
    assert await told_by_postgres(f"{database_url}?ssl=true") == (
        "Postgres does not speak TLS, or is another server's port; "
        "leave sslmode out, or correct host and port (while asking)"
    )


HBA = """
hostssl all secured 127.0.0.1/32 trust
host all postgres 127.0.0.1/32 trust
host all with_password 127.0.0.1/32 scram-sha-256
"""


async def test_a_postgres_that_lets_users_in_by_its_rules(
    own_dir: Path, postgres_factory: Callable[..., PostgresServer]
) -> None:
    hba = own_dir / "pg_hba.conf"
    hba.write_text(HBA)
    server = postgres_factory({"hba_file": str(hba)})
    admin = await asyncpg.connect(server.url)
    await admin.execute("create role secured login; create role with_password login password 'right'")
    await admin.close()
    where = f"127.0.0.1:{server.port}/postgres"
    for option in ("", "?sslmode=disable"):
        assert await told_by_postgres(f"postgresql://secured:secret@{where}{option}") == (
            "Postgres does not let this user in without TLS (pg_hba.conf); add sslmode=require behind the ? "
            "(while asking)"
        )
    assert "refuses this user or password" in await told_by_postgres(f"postgresql://with_password:secret@{where}")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SSL connection is required. Please specify SSL options and retry.", "without TLS"),
        ('no pg_hba.conf entry for host "10.0.0.1", user "u", database "d", SSL off', "without TLS"),
        ('no pg_hba.conf entry for host "10.0.0.1", user "u", database "d", SSL encryption', "in from here; add this"),
        ("password authentication failed", "refuses this user or password"),
    ],
)
def test_what_hosts_of_postgres_say(text: str, expected: str) -> None:
    assert expected in postgres_reason(asyncpg.InvalidAuthorizationSpecificationError(text))


async def test_a_postgres_with_a_certificate(own_dir: Path, database_url: str) -> None:
    certificate = make_certificate(own_dir, "localhost")
    url, port = urlsplit(database_url), urlsplit(database_url).port or 0
    async with tls_front(port, certificate) as front:
        ours = f"sslmode=verify-full&sslrootcert={certificate.file}"
        told = await told_by_postgres(f"postgresql://postgres:secret@127.0.0.1:{front}{url.path}?{ours}")
        assert told.startswith("Postgres has a certificate for another name (IP address mismatch")
        other = make_certificate(own_dir, "other.example")
        theirs = f"sslmode=verify-full&sslrootcert={other.file}"
        told = await told_by_postgres(f"postgresql://postgres:secret@localhost:{front}{url.path}?{theirs}")
        assert told.startswith("Postgres has a certificate that is not trusted (self")
        assert "give the file of its authority: sslrootcert=/path/ca.pem" in told
        store = PostgresTenants(postgres_url(f"postgresql://postgres@localhost:{front}{url.path}?{ours}"))
        await store.open()
        assert await store.fetch("asking", "select 1")
        await store.close()


@pytest.fixture
def few_rights(databases: Databases) -> Iterator[str]:
    databases.execute("create role few login")
    yield "few"
    databases.execute("drop role few")


async def test_a_role_with_few_rights_is_told_which_one_is_missing(few_rights: str, database_url: str) -> None:
    store = PostgresTenants(database_url.replace("postgres@", f"{few_rights}:secret@"), timeout=5.0)
    await store.open()
    with pytest.raises(StoreError) as caught:
        await store.read(["subdomain:acme"])
    await store.close()
    assert "does not let this user do that (permission denied for schema tenantcache); grant" in str(caught.value)


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        (
            "set transaction_read_only = on; create table x ()",
            "takes no writes (a standby, or read-only); give",
        ),
        ("set statement_timeout = '10ms'; select pg_sleep(5)", "cancelled the statement; is there a statement_timeout"),
        ("select 1 / 0", "answers: division by zero (22012)"),
        ("select nothing_such()", "answers: function nothing_such() does not exist (42883)"),
    ],
)
async def test_what_a_statement_meets_is_not_a_refused_connection(
    empty_database_url: str, statement: str, expected: str
) -> None:
    connection = await asyncpg.connect(empty_database_url)
    with pytest.raises(asyncpg.PostgresError) as caught:
        await connection.execute(statement)
    await connection.close()
    assert expected in postgres_reason(caught.value)


async def test_a_connection_that_was_lost_is_not_told_as_a_wrong_parameter(empty_database_url: str) -> None:
    connection = await asyncpg.connect(empty_database_url)
    await connection.close()
    with pytest.raises(asyncpg.InterfaceError) as caught:
        await connection.fetchval("select 1")
    assert "parameters" not in postgres_reason(caught.value)


async def test_a_full_server(postgres_factory: Callable[..., PostgresServer]) -> None:
    server = postgres_factory(options={"max_connections": "4", "superuser_reserved_connections": "0"})
    held = [await asyncpg.connect(server.url) for _ in range(3)]
    await schema.install(held[0])
    try:
        while len(held) < 10:
            held.append(await asyncpg.connect(server.url))
    except asyncpg.PostgresError as error:
        assert postgres_reason(error) == "has no connection left; raise max_connections, or stop clients"
    assert len(held) < 10
    for connection in held:
        await connection.close()
