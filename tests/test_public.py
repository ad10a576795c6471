"""What is public is what docs/api.md lists, name by name."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from inspect import isclass, isfunction
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints, is_typeddict

import pytest

from tenantcache import Settings, TenantCache, TenantCacheError
from tenantcache.stats import Stats

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
        "tenantcache.observability.opentelemetry",
        "tenantcache.stats",
        "tenantcache.testing",
        "tenantcache.web.ask",
        "tenantcache.web.dashboard",
        "tenantcache.web.health",
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
    for part in ("tenants", "domains", "usage", "values"):
        [row] = re.findall(rf"^\| `{part}` \| (.*) \|$", PAGE, re.MULTILINE)
        members = re.findall(r"`(\w+)`", row)
        assert [name for name in members if not hasattr(getattr(cache, part), name)] == []
        public = {name for name, found in vars(type(getattr(cache, part))).items() if name[0] != "_"}
        assert public - {*members, "stats", "open", "close", "forget", "waiting", "collect"} == set()


def keys_of(kind: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Each key below a TypedDict with its type as the page writes it; those of the groups at the top are left out."""
    for name, found in get_type_hints(kind).items():
        place = f"{path}.{name}" if path else name
        if path or not is_typeddict(found):
            yield place, in_words(found)
        for part in (found, *get_args(found)):
            if is_typeddict(part):
                yield from keys_of(part, place)


def in_words(found: Any) -> str:
    if get_origin(found) is Literal:
        words = [f'"{word}"' for word in get_args(found)]
    elif get_origin(found) in (Union, UnionType):
        return in_words(get_args(found)[0]).replace(" or ", ", ") + " or None"
    else:
        words = ["dict" if is_typeddict(found) else "None" if found is NoneType else found.__name__]
    return " or ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def test_the_page_has_each_key_of_the_statistics_with_its_type() -> None:
    rows = re.findall(r"^\| `([\w.]+)` \| (.*?) \| (?:.+) \|$", section("Statistics"), re.MULTILINE)
    assert dict(rows) == dict(keys_of(Stats))


def test_the_statistics_have_the_keys_of_their_type() -> None:
    def check(found: Any, kind: Any) -> None:
        hints = get_type_hints(kind)
        assert found.keys() == hints.keys()
        for name, value in found.items():
            for part in (hints[name], *get_args(hints[name])):
                if is_typeddict(part) and value is not None:
                    check(value, part)

    environment = {"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none", "REDIS_URL": "redis://127.0.0.1:1/0"}
    for names in (["DATABASE_URL"], ["DATABASE_URL", "REDIS_URL"]):
        stats = TenantCache(Settings({name: environment[name] for name in names})).stats()
        assert stats["limits"]["counters"] is not None
        check(stats, Stats)
