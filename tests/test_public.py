"""What is public is what docs/api.md lists, name by name."""

from __future__ import annotations

import importlib
import re
from inspect import isclass, isfunction
from pathlib import Path

import pytest

from tenantcache import Settings, TenantCache, TenantCacheError

PAGE = (Path(__file__).parents[1] / "docs" / "api.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `([^`]+)` \|", re.MULTILINE)

LISTED = {
    module: ROW.findall(section)
    for module, section in re.findall(r"^## `([\w.]+)`\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
}
"""The names of each module, in the order of the page."""


def section(title: str) -> str:
    [found] = re.findall(rf"^## {title}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    return str(found)


def test_the_page_lists_these_modules() -> None:
    assert list(LISTED) == [
        "tenantcache",
        "tenantcache.fastapi",
        "tenantcache.limits",
        "tenantcache.observability.logs",
        "tenantcache.testing",
        "tenantcache.web.ask",
        "tenantcache.web.plans",
        "tenantcache.web.problems",
        "tenantcache.web.strategies",
    ]


@pytest.mark.parametrize("module", LISTED)
def test_a_module_exports_what_the_page_lists(module: str) -> None:
    found: dict[str, object] = {}
    exec(f"from {module} import *", found)
    assert sorted(LISTED[module]) == LISTED[module]
    assert sorted(name for name in found if name != "__builtins__") == LISTED[module]
    assert importlib.import_module(module).__all__ == LISTED[module]


@pytest.mark.parametrize("module", LISTED)
def test_what_is_public_says_what_it_is(module: str) -> None:
    exported = {name: getattr(importlib.import_module(module), name) for name in LISTED[module]}
    described = {name: found for name, found in exported.items() if isclass(found) or isfunction(found)}
    assert [name for name, found in described.items() if not found.__doc__] == []


def test_errors_of_the_root_have_one_base() -> None:
    root = importlib.import_module("tenantcache")
    errors = [getattr(root, name) for name in LISTED["tenantcache"] if name.endswith("Error")]
    assert len(errors) == 12
    assert all(issubclass(error, TenantCacheError) for error in errors)


def test_the_engine_has_what_the_page_lists() -> None:
    cache = TenantCache(Settings({}, database_url="postgresql://nobody@127.0.0.1:1/none"))
    listed = ROW.findall(section("The engine"))
    assert [name for name in listed if not hasattr(cache, name)] == []
    assert [name for name in listed if name in vars(TenantCache) and not getattr(TenantCache, name).__doc__] == []
    for part in ("tenants", "domains", "usage"):
        [row] = re.findall(rf"^\| `{part}` \| (.*) \|$", PAGE, re.MULTILINE)
        members = re.findall(r"`(\w+)`", row)
        assert [name for name in members if not hasattr(getattr(cache, part), name)] == []
        public = {name for name, found in vars(type(getattr(cache, part))).items() if name[0] != "_"}
        assert public - {*members, "stats", "open", "close", "forget", "waiting"} == set()
