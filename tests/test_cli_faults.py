"""No command ends in a traceback for what a person can mend.

What comes from outside (signals, pipes, a full disk) is done to a process. The rest is asked of `main` here, and of one
process.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tenantcache.devservers import free_port
from tests.commandline import Run
from tests.servers.databases import Databases

ROOT = Path(__file__).parent.parent
CODE = "import sys; from tenantcache.cli.main import main; main(sys.argv[1:])"
Fail = Callable[..., tuple[int, str]]
CONNECTING = ("init", "init --adopt public.customers", "uninstall --yes", "check", "loadtest http://127.0.0.1:9")


def start(command: str, environ: Mapping[str, str], stdout: int = subprocess.PIPE) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CODE, *command.split()],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environ},
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def fail(run: Run) -> Fail:
    """Run a command here; return exit status and stderr."""

    def fail(command: str, **environ: str) -> tuple[int, str]:
        status, _, errors = run(*command.split(), **environ)
        assert "Traceback" not in errors
        assert "secret" not in errors
        return status, errors

    return fail


@pytest.fixture
def visitor(databases: Databases, empty_database_url: str) -> Iterator[str]:
    """The URL of a role that may connect and do nothing else."""
    databases.execute("create role visitor_of_commands login")
    yield empty_database_url.replace("postgres@", "visitor_of_commands:secret@")
    databases.execute("drop role visitor_of_commands")


@pytest.mark.parametrize("command", CONNECTING)
def test_a_server_that_is_not_there(fail: Fail, command: str) -> None:
    status, errors = fail(command, DATABASE_URL=f"postgresql://u:secret@127.0.0.1:{free_port()}/d")
    assert status == 2
    assert "is not running (connection refused); start it, or correct host and port" in errors


def test_a_process_says_no_more_than_that(visitor: str) -> None:
    """Neither a warning of the interpreter nor a line of a logger that nothing was set up for."""
    process = start("check", {"DATABASE_URL": visitor})
    out, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "the database has no tenantcache schema; run `tenantcache init`" in errors
    for unwanted in ("Traceback", "secret", "log says why", "Warning", "Exception ignored"):
        assert unwanted not in out + errors


@pytest.mark.parametrize("command", ["init", "uninstall --yes", "check", "loadtest http://127.0.0.1:9"])
def test_a_role_that_may_do_nothing(fail: Fail, command: str, visitor: str) -> None:
    status, errors = fail(command, DATABASE_URL=visitor)
    assert (status, "log says why" in errors) == (0 if command.startswith("uninstall") else 2, False)


@pytest.mark.parametrize("command", ["init", "check"])
def test_a_server_that_takes_no_writes(fail: Fail, command: str, empty_database_url: str) -> None:
    status, errors = fail(command, DATABASE_URL=f"{empty_database_url}?default_transaction_read_only=on")
    assert status == 2
    if command == "init":
        assert "takes no writes (a standby, or read-only); give the URL of the primary" in errors


@pytest.mark.parametrize(
    "command",
    ["init --dry-run", "check", *(pytest.param(each, marks=pytest.mark.slow) for each in ("settings", "--help"))],
)
def test_a_pipe_that_is_closed(command: str, empty_database_url: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    process = start(command, {"DATABASE_URL": empty_database_url}, stdout=writing)
    os.close(writing)
    _, errors = process.communicate(timeout=60)
    assert "Traceback" not in errors
    assert "Exception ignored" not in errors
    assert process.returncode == 1


@pytest.mark.parametrize(
    "command", [CONNECTING[0], *(pytest.param(each, marks=pytest.mark.slow) for each in CONNECTING[1:])]
)
def test_an_interrupt(command: str) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        process = start(command, {"DATABASE_URL": f"postgresql://u:secret@127.0.0.1:{listener.getsockname()[1]}/d"})
        listener.settimeout(30)
        connection, _ = listener.accept()  # it waits for an answer now
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
        connection.close()
    assert "Traceback" not in errors
    assert process.returncode in (1, 130)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has it")
@pytest.mark.parametrize("command", ["settings", pytest.param("init --dry-run", marks=pytest.mark.slow)])
def test_a_full_disk(command: str) -> None:
    with open("/dev/full", "w") as full:
        process = start(command, {"DATABASE_URL": "postgresql://h/d"}, stdout=full.fileno())
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 2
    assert errors.startswith("tenantcache: No space left on device")
    assert "Traceback" not in errors


@pytest.mark.parametrize("url", ["nonsense", "ftp://h", "127.0.0.1:8000"])
def test_a_load_test_of_something_that_is_not_a_url(fail: Fail, url: str) -> None:
    status, errors = fail(f"loadtest {url}", DATABASE_URL="postgresql://h/d")
    assert status == 2
    assert f"{url!r} is not a URL of a deployment; give one like http://127.0.0.1:8000" in errors
