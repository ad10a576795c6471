"""URLs as hosting platforms, libpq, SQLAlchemy and Celery write them: what becomes of each."""

from __future__ import annotations

import getpass
from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest
from redis.asyncio import Redis

from tenantcache import Settings, TenantCache
from tenantcache.budget.core.meter import Purpose
from tenantcache.devservers import PostgresServer, RedisServer
from tenantcache.errors import ConfigurationError
from tenantcache.settings.postgresurl import postgres_url
from tenantcache.settings.redisurl import redis_url
from tenantcache.settings.urls import address
from tenantcache.stores.redis import RedisLink
from tests.faults import fault_of

SYSTEM_CA = Path("/etc/ssl/certs/ca-certificates.crt")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        # Neon, Supabase, Prisma, Heroku
        ("postgresql://u:p@h/d?sslmode=require&channel_binding=require", "postgresql://u:p@h/d?sslmode=require"),
        ("postgres://u:p@h:6543/d?pgbouncer=true&connection_limit=1&schema=public", "postgres://u:p@h:6543/d"),
        ("postgresql://u:p@h/d?options=project%3Dep-1", "postgresql://u:p@h/d?options=project%3Dep-1"),
        # Cloud SQL
        ("postgresql://u:p@/d?host=/cloudsql/a:eu:b", "postgresql://u:p@%2Fcloudsql%2Fa%3Aeu%3Ab/d"),
        # libpq
        ("postgresql://h/d?connect_timeout=10&keepalives_idle=30&gssencmode=disable", "postgresql://h/d"),
        ("postgresql://h/d?fallback_application_name=x&application_name=y", "postgresql://h/d?application_name=y"),
        ("postgresql:///d?hostaddr=10.0.0.1&port=7", "postgresql://10.0.0.1:7/d"),
        ("postgresql://h/d?hostaddr=10.0.0.1", "postgresql://h/d"),
        ("postgresql:///d?host=h1,h2&port=1,2&load_balance_hosts=random", "postgresql://h1:1,h2:2/d"),
        ("postgresql:///d?host=::1,h2", "postgresql://[::1],h2/d"),
        (
            "postgresql://h1:1,h2:2/d?target_session_attrs=read-write",
            "postgresql://h1:1,h2:2/d?target_session_attrs=read-write",
        ),
        # the many ways to say TLS
        ("postgresql://h/d?ssl=true", "postgresql://h/d?sslmode=require"),
        ("postgresql://h/d?ssl=0", "postgresql://h/d?sslmode=disable"),
        ("postgresql://h/d?ssl=verify-full", "postgresql://h/d?sslmode=verify-full"),
        ("postgresql://h/d?sslmode=disable&ssl=true", "postgresql://h/d?sslmode=disable"),
        ("postgresql://h/d?requiressl=1", "postgresql://h/d?sslmode=require"),
        ("postgresql://h/d?sslmode=no-verify", "postgresql://h/d?sslmode=require"),
        # SQLAlchemy
        ("postgresql+asyncpg://u:p@h/d?prepared_statement_cache_size=0", "postgresql://u:p@h/d"),
        ("postgresql+psycopg://u:p@/d?host=h1:1&host=h2:2", "postgresql://u:p@h1:1,h2:2/d"),
        ("postgres+psycopg2://h/d", "postgres://h/d"),
        # asyncpg: any setting of the server
        ("postgresql://h/d?statement_timeout=5s&my.own=1", "postgresql://h/d?statement_timeout=5s&my.own=1"),
        # what parsers of URLs cut in other places than their writers meant
        ("postgresql://u:p@ss[:%40@h:/d?", "postgresql://u:p%40ss%5B%3A%40@h/d"),
    ],
)
def test_a_postgres_url_becomes_one_that_asyncpg_takes(given: str, expected: str) -> None:
    assert postgres_url(given) == expected
    assert postgres_url(expected) == expected


@pytest.mark.skipif(not SYSTEM_CA.exists(), reason="where the system keeps its certificates differs")
def test_the_certificates_of_the_system_are_found() -> None:
    url = postgres_url("postgresql://h/d?sslrootcert=system")
    assert "sslmode=verify-full" in url
    assert "sslrootcert=/" in url


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://h/d?sslmod=x", "has the unknown option sslmod; did you mean sslmode?"),
        ("postgresql://h/d?qqq=x", "has the unknown option qqq; leave it out"),
        ("postgresql://h/d?sslmode", "has something behind the ? that is not an option; give name=value"),
        ("postgresql://h/d?target_session_attrs=master", "an option target_session_attrs with an unknown value; there"),
        ("postgresql://h/d?gssencmode=require", "has gssencmode=require, which asyncpg cannot do; use TLS"),
        ("postgresql://h/d?require_auth=scram-sha-256", "has the option require_auth, which cannot be used here: it"),
        ("postgresql://h/d?sslrootcert=system&sslmode=require", "has sslrootcert=system, which needs sslmode=verify-"),
        ("postgresql://h/d?sslnegotiation=direct", "has sslnegotiation=direct, which needs sslmode=require"),
        ("postgresql://db..example/d", "has a host that is not a name; give one like db.example.com"),
        ("postgresql://h/d?port=x", "has an option port that is not a number"),
        ("postgresql://h/d?port=1,2", "has an option port with another number of ports than there are hosts"),
    ],
)
def test_what_is_wrong_with_a_postgres_url_is_named(url: str, expected: str) -> None:
    assert expected in (fault_of(postgres_url, url) or "")


def test_an_account_without_a_name_needs_a_user(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown() -> str:
        raise KeyError("getpwuid(): uid not found: 10001")

    monkeypatch.setattr(getpass, "getuser", unknown)
    monkeypatch.delenv("PGUSER", raising=False)
    assert "names no user, and this account has no name" in (fault_of(postgres_url, "postgresql://h/d") or "")
    assert fault_of(postgres_url, "postgresql://u@h/d") is None
    assert fault_of(postgres_url, "postgresql://h/d?user=u") is None


def test_all_unknown_options_are_named_at_once() -> None:
    lines = (fault_of(postgres_url, "postgresql://h/d?sslmod=x&a=secret&sslmode=require&b=secret") or "").splitlines()
    assert [line.split()[4].rstrip(";") for line in lines] == ["sslmod", "a", "b"]
    assert "secret" not in "".join(lines)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("rediss://:p@h:1?ssl_cert_reqs=CERT_NONE", "rediss://:p@h:1?ssl_cert_reqs=none"),
        (
            "rediss://h?ssl_cert_reqs=none&ssl_check_hostname=false",
            "rediss://h?ssl_cert_reqs=none&ssl_check_hostname=false",
        ),
        ("rediss://h?ssl_min_version=TLSv1.3", "rediss://h?ssl_min_version=772"),
        ("redis://h:7/3?ssl=true", "rediss://h:7/3"),
        ("redis://h?ssl=false", "redis://h"),
        ("valkeys://h", "rediss://h"),
        ("unix:///run/redis.sock?db=3", "unix:///run/redis.sock?db=3"),
        # these would win over what the stores rest on
        ("redis://h?retry_on_timeout=true&decode_responses=true&protocol=3&socket_timeout=60", "redis://h"),
        ("redis://h?max_connections=1&timeout=0&health_check_interval=5&client_name=x", "redis://h"),
        ("redis://u:p@[@h:", "redis://u:p%40%5B@h"),
    ],
)
def test_a_redis_url_becomes_one_that_redis_takes_as_it_should(given: str, expected: str) -> None:
    assert redis_url(given) == expected
    assert redis_url(expected) == expected


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://h?ssl_cert_req=none", "has the unknown option ssl_cert_req; did you mean ssl_cert_reqs?"),
        ("rediss://h?ssl_cert_reqs=maybe", "an option ssl_cert_reqs with an unknown value; there are none, optional"),
        ("rediss://h?ssl=false", "has ssl=false, but rediss:// is TLS; give redis://"),
        ("rediss://h?ssl_ca_certs=/no/ca", "names /no/ca as ssl_ca_certs, which is not a file that can be read"),
        ("redis://h/cache", "has a database that is not a number"),
        ("redis://h?db=x", "has an option db that is not a number"),
        ("redis://a,b", "names several hosts; give one, of a cluster any node"),
        ("unix://run/redis.sock", "has a host; give the path of the socket, like unix:///run/redis.sock"),
        ("redis+sentinel://h", "has the scheme redis+sentinel://; give one like redis://host:6379/0"),
    ],
)
def test_what_is_wrong_with_a_redis_url_is_named(url: str, expected: str) -> None:
    assert expected in (fault_of(redis_url, url) or "")


@pytest.mark.parametrize("url", ["postgresql://%2Frun%2Fpg/d", "postgresql:///d?host=/run/pg"])
def test_a_socket_is_told_by_its_directory(url: str) -> None:
    assert address(postgres_url(url), 5432) == "/run/pg"


async def test_an_engine_opens_with_what_neon_and_libpq_write(database_url: str, redis_url: str) -> None:
    url = database_url.replace("postgresql:", "postgresql+asyncpg:") + (
        "?sslmode=prefer&channel_binding=require&connect_timeout=10&keepalives=1&options=-c%20statement_timeout%3D9s"
    )
    settings = Settings(database_url=url, redis_url=f"{redis_url}?decode_responses=true&retry_on_timeout=true")
    async with TenantCache(settings) as cache:
        assert await cache.resolve("acme.localhost") is None
    connection = await asyncpg.connect(settings.database_url)
    assert await connection.fetchval("show statement_timeout") == "9s"
    await connection.close()


async def test_stores_are_reached_over_sockets(
    postgres_factory: Callable[..., PostgresServer],
    redis_factory: Callable[..., RedisServer],
    server_dir: Path,
    tmp_path: Path,
) -> None:
    sockets = server_dir / "sockets"
    sockets.mkdir()
    sockets.chmod(0o777)
    postgres = postgres_factory({"unix_socket_directories": str(sockets)})
    redis = redis_factory({"unixsocket": str(tmp_path / "redis.sock")})
    settings = Settings(
        database_url=f"postgresql://postgres@/postgres?host={sockets}&port={postgres.port}",
        redis_url=f"unix://{tmp_path}/redis.sock?db=2",
    )
    connection = await asyncpg.connect(settings.database_url)
    assert await connection.fetchval("select inet_server_addr() is null")
    await connection.close()
    link = RedisLink(settings.redis_url or "")
    await link.open()
    await link.run(Purpose.LOOKUP, "SET", "a", 1)
    await link.close()
    client = Redis.from_url(redis.url.replace("/0", "/2"))
    assert await client.get("a") == b"1"
    await client.aclose()


def test_settings_tell_all_faults_of_a_url() -> None:
    with pytest.raises(ConfigurationError) as raised:
        Settings(database_url="postgresql://u:secret@h/d?a=1&b=2", redis_url="redis://:secret@h?c=3")
    assert [line.split(" ")[0:5] for line in str(raised.value).splitlines()] == [
        ["Settings(database_url=...)", "has", "the", "unknown", "option"],
        ["Settings(database_url=...)", "has", "the", "unknown", "option"],
        ["Settings(redis_url=...)", "has", "the", "unknown", "option"],
    ]
    assert "secret" not in str(raised.value)
