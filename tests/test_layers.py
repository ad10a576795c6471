"""Dependencies point one way, as CONTRIBUTING draws them. The checker itself is tested on made-up packages."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import tenantcache
from tests.layers import LAYER_OF, MAY_IMPORT, read_package, violations

pytestmark = pytest.mark.static

ROOT = Path(__file__).parent.parent


def make_package(root: Path, files: dict[str, str]) -> Path:
    for name, text in {"__init__.py": "", **files}.items():
        path = root / "tenantcache" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_the_layers_of_the_project_point_one_way() -> None:
    assert violations(ROOT) == []


def test_the_project_is_really_read() -> None:
    modules = read_package(ROOT)
    layers = {module.layer for module in modules.values()}
    assert layers == {*MAY_IMPORT}
    assert "tenantcache.tenant" in {name for _, name in modules["tenantcache.settings.model"].imports}
    stale = [name for name in LAYER_OF if not any((other + ".").startswith(name + ".") for other in modules)]
    assert set(stale) <= {"tenantcache.testing"}


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        ("core/a.py", "import asyncio", "core.a:1 (core) imports asyncio"),
        ("core/a.py", "import time", "core.a:1 (core) imports time"),
        ("core/a.py", "from os import path", "core.a:1 (core) imports os"),
        ("core/a.py", "import redis", "core.a:1 (core) imports redis"),
        ("core/a.py", "def f():\n    import logging", "core.a:2 (core) imports logging"),
        ("core/a.py", "from tenantcache import errors", "core.a:1 (core) imports errors (ground)"),
        ("core/a.py", "from ..errors import E", "core.a:1 (core) imports errors (ground)"),
        ("core/a.py", "async def f(): pass", "core.a:1 (core) is asynchronous"),
        ("core/a.py", "x = open('f')", "core.a:1 (core) calls open()"),
        ("stores/a.py", "import tenantcache.engine", "stores.a:1 (stores) imports engine (engine)"),
        ("stores/a.py", "from ..web import x", "stores.a:1 (stores) imports web (web)"),
        ("stores/a.py", "import starlette", "stores.a:1 (stores) imports starlette"),
        ("cli/a.py", "import sqlglot", "cli.a:1 imports sqlglot, which only schema.adopt.ways may"),
        ("stores/a.py", "from sqlglot import exp", "stores.a:1 imports sqlglot, which only schema.adopt.ways may"),
        (
            "stores/a.py",
            "if TYPE_CHECKING:\n    from ..settings import S",
            "stores.a:2 (stores) imports settings (settings)",
        ),
        ("lifecycle.py", "from . import stores", "lifecycle:1 (wiring) imports stores (stores)"),
        ("engine.py", "from . import web", "engine:1 (engine) imports web (web)"),
        ("engine.py", "import starlette.types", "engine:1 (engine) imports starlette.types"),
        ("lookup/a.py", "from tenantcache.cli import m", "lookup.a:1 (lookup) imports cli (cli)"),
        ("lookup/a.py", "import tenantcache", "lookup.a:1 (lookup) imports tenantcache (root)"),
        ("lookup/a.py", "from ..ratelimit import m", "lookup.a:1 (lookup) imports ratelimit (ratelimit)"),
        ("lookup/core/a.py", "import asyncio", "lookup.core.a:1 (core) imports asyncio"),
        ("odd.py", "from tenantcache.errors import E", "odd has no place in the plan"),
        ("web/a.py", "import tenantcache.cli", "web.a:1 (web) imports cli (cli)"),
        ("web/a.py", "import tenantcache.gone", "web.a:1 imports gone, which does not exist"),
        ("settings.py", "from .engine import e", "settings:1 (settings) imports engine (engine)"),
    ],
)
def test_an_import_against_the_direction_is_found(tmp_path: Path, file: str, text: str, expected: str) -> None:
    files = dict.fromkeys(("errors.py", "engine.py", "settings.py", "core/__init__.py", "web/__init__.py"), "")
    files |= dict.fromkeys(("lookup/__init__.py", "lookup/core/__init__.py", "ratelimit/__init__.py"), "")
    root = make_package(tmp_path, {**files, "cli/__init__.py": "", "stores/__init__.py": "", file: text})
    assert [line.replace("tenantcache.", "") for line in violations(root)] == [expected]


def test_neither_an_application_nor_the_demo_imports_the_parser_of_sql() -> None:
    modules = "tenantcache.fastapi, tenantcache.engine, tenantcache.admin.tenants, tenantcache.cli.demo"
    code = f"import sys, {modules}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert "asyncpg" in loaded and "sqlglot" not in loaded


def test_the_help_of_the_commands_imports_no_engine_and_no_client_of_a_store() -> None:
    code = (
        "import sys\n"
        "from tenantcache.cli.main import main\n"
        "try:\n    main(['--help'])\n"
        "finally:\n    print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    *_, listed = done.stdout.splitlines()
    loaded = {*listed.split()}
    assert {"typer", "tenantcache.cli.analyze"} <= loaded
    heavy = {"asyncpg", "redis", "starlette", "pydantic", "pydantic_settings", "sqlglot", "fastapi", "uvicorn"}
    ours = {
        f"tenantcache.{name}" for name in ("engine", "settings.model", "stores", "schema", "ratelimit", "devservers")
    }
    assert loaded & (heavy | ours) == set()


def test_each_name_of_the_root_is_imported_from_its_module() -> None:
    code = (
        "import sys, tenantcache; print(*sys.modules); print(*(getattr(tenantcache, n) for n in tenantcache.__all__))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    at_first = done.stdout.splitlines()[0].split()
    assert [name for name in at_first if name.startswith("tenantcache")] == ["tenantcache"]
    assert {*tenantcache._HOMES} == {*tenantcache.__all__}
    with pytest.raises(AttributeError, match="no attribute 'Tennant'"):
        _ = tenantcache.Tennant  # type: ignore[attr-defined]


def test_a_cycle_within_one_layer_is_found(tmp_path: Path) -> None:
    files = {
        "core/a.py": "from .b import x",
        "core/b.py": "def f():\n    from . import c",
        "core/c.py": "from . import a",
    }
    root = make_package(tmp_path, {"core/__init__.py": "", **files})
    cycle = "import cycle: tenantcache.core.a -> tenantcache.core.b -> tenantcache.core.c -> tenantcache.core.a"
    assert violations(root) == [cycle]


def test_imports_in_the_direction_are_allowed(tmp_path: Path) -> None:
    files = {
        "errors.py": "",
        "core/__init__.py": "",
        "core/a.py": "import idna, dataclasses\nfrom collections.abc import Mapping\nfrom . import b",
        "core/b.py": "",
        "stores/__init__.py": "",
        "stores/redis.py": "import redis.asyncio, asyncio\nfrom ..core.a import x\nfrom tenantcache.errors import E",
        "wiring/__init__.py": "",
        "wiring/stores.py": "from tenantcache.stores import redis\nfrom ..core import a",
        "wiring/parts.py": "from tenantcache.wiring.stores import s",
        "engine.py": "from tenantcache.wiring.parts import p",
        "web/__init__.py": "import starlette\nfrom ..engine import e",
        "cli/__init__.py": "import typer\nfrom tenantcache import web",
        "__init__.py": "from tenantcache.engine import e\nfrom .web import m",
    }
    assert violations(make_package(tmp_path, files)) == []
