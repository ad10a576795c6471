"""Each fingerprint holds for what the library itself has written, and ordinary keys are not claimed.

The recordings are made by `python -m tests.owners.record`.
"""

from __future__ import annotations

import fnmatch
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantcache.budget.core.owners import FINGERPRINTS, owner_of

RECORDINGS: dict[str, dict[str, Any]] = {
    path.stem: json.loads(path.read_text("utf-8")) for path in sorted(Path(__file__).parent.glob("*.json"))
}

# What looks like any application's keys; and libraries whose keys are those of another one that they use.
NOT_TOLD: dict[str, tuple[str, ...]] = {
    "celery": ("reports",),
    "kombu": ("mails", "simple"),
    "sidekiq": ("host:*",),  # a process: host, number and 12 hex digits
    "cashews": ("__main__:*", "user:*", "tagged:*"),
}
USES: dict[str, frozenset[str]] = {"celery": frozenset({"kombu"})}


def fits_any(key: bytes, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatchcase(key.decode("latin-1"), pattern) for pattern in patterns)


def keys_of(name: str) -> list[tuple[bytes, str]]:
    return [(found["key"].encode("latin-1"), found["type"]) for found in RECORDINGS[name]["keys"]]


@pytest.mark.parametrize("name", RECORDINGS)
def test_the_keys_of_a_library_are_told(name: str) -> None:
    library = RECORDINGS[name]["library"]
    expected = {library} | USES.get(library, frozenset())
    told = {(key, kind): owner_of(key, kind) for key, kind in keys_of(name)}
    missed = {place: owner for place, owner in told.items() if owner not in expected}
    missed = {place: owner for place, owner in missed.items() if not fits_any(place[0], NOT_TOLD.get(name, ()))}
    assert missed == {}
    assert library in told.values()


@pytest.mark.parametrize("name", RECORDINGS)
def test_without_its_type_a_key_has_the_same_owner_or_none(name: str) -> None:
    for key, kind in keys_of(name):
        assert owner_of(key) in (owner_of(key, kind), None)


def test_every_owner_was_recorded() -> None:
    assert {one.owner for one in FINGERPRINTS} == {found["library"] for found in RECORDINGS.values()}


@pytest.mark.parametrize("name", RECORDINGS)
def test_the_documentation_names_the_version(name: str) -> None:
    page = (Path(__file__).parents[2] / "docs" / "record.md").read_text("utf-8")
    assert f"| {name} | {RECORDINGS[name]['version']} |" in page


# fmt: off
ORDINARY = [
    "user:1", "user:1:profile", "tenant:acme:settings", "session:4f3c2a1b", "sess:abc", "cart:77:items",
    "product:list:page:2", "rate:10.0.0.7:1700000000", "ratelimit:user123", "ratelimit:789:20250408:1430",
    "lock:order:5", "feature-flags", "cache:home", "views:2024-01-01", "leaderboard", "online_users", "tenant123",
    "user_session_456", "limits:free", "limiter:x", "bull", "rq", "arq", "celery", "queue", "queue:emails", "queues",
    "schedule", "retry", "dead", "processes", "unacked", "hit", "early", "stat:visits", "flask", "django", "job:1",
    "fastapi", "tenantcache", "myapp:celery-task", "x:bull:y", "1:2:3", "a:1:b", "f(x)", "items[0]", "",
]
# fmt: on


@pytest.mark.parametrize("key", ORDINARY)
def test_ordinary_keys_are_not_claimed(key: str) -> None:
    assert owner_of(key.encode()) is None


words = st.sampled_from(
    ["user", "tenant", "session", "cart", "order", "profile", "settings", "cache", "v1", "page", "hits"]
)
hexes = st.binary(min_size=6, max_size=16).map(bytes.hex)
ids = st.one_of(st.integers(0, 10**12).map(str), st.uuids().map(str), st.dates().map(str), hexes, words)


@given(words, st.lists(ids, min_size=1, max_size=4), st.sampled_from(":/|._-"))
@pytest.mark.parametrize("kind", ["", "string", "hash", "list", "set", "zset", "stream"])
def test_keys_that_begin_with_an_applications_word_are_not_claimed(
    kind: str, first: str, parts: list[str], separator: str
) -> None:
    assert owner_of(separator.join([first, *parts]).encode(), kind) is None


@given(st.binary(max_size=100))
def test_any_bytes_can_be_asked(key: bytes) -> None:
    owner_of(key)
