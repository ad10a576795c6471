"""Keys fold to the patterns that a person would write down."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tenantcache.budget.core.keytext import show_key
from tenantcache.budget.core.patterns import MAX_BYTES, fold

UUID = "550e8400-e29b-41d4-a716-446655440000"

LIBRARIES = {
    # as these libraries write them
    f"celery-task-meta-{UUID}": "celery-task-meta-{uuid}",
    "_kombu.binding.celery": "_kombu.binding.celery",
    f"{UUID}.reply.celery.pidbox": "{uuid}.reply.celery.pidbox",
    f"rq:job:{UUID}": "rq:job:{uuid}",
    "bull:emails:123": "bull:emails:{id}",
    "arq:job:4f1a3b9c2d5e4f1a3b9c2d5e4f1a3b9c": "arq:job:{hash}",
    "LIMITS:LIMITER/127.0.0.1/hello/10/1/minute": "LIMITS:LIMITER/{ip}/hello/{id}/{id}/minute",
    "@upstash/ratelimit:203.0.113.7:28876": "@upstash/ratelimit:{ip}:{id}",
    "fastapi-cache:5d41402abc4b2a76b9719d911017c592": "fastapi-cache:{hash}",
    f"spring:session:sessions:expires:{UUID}": "spring:session:sessions:expires:{uuid}",
    "tenantcache:ratelimit:0:20261126:1015": "tenantcache:ratelimit:{id}:{date}:{time}",
    "tenantcache:ratelimit:0:20261126:day": "tenantcache:ratelimit:{id}:{date}:day",
    "tenantcache:tenant:domain:shop.acme.io": "tenantcache:tenant:domain:{host}",
}
SHAPES = {
    "user:123:session": "user:{id}:session",
    "tenant:acme:settings": "tenant:acme:settings",
    "ratelimit:789:20250408:1430": "ratelimit:{id}:{date}:{time}",
    "tenant_123": "tenant_{id}",
    "tenant123": "tenant{id}",
    "user_session_456": "user_session_{id}",
    "{user:123}:cart": "{user:{id}}:cart",
    "user:alice@example.com": "user:{email}",
    "ip:2001:db8::1": "ip:{ip}",
    "job:01ARZ3NDEKTSV4RRFFQ69G5FAV": "job:{ulid}",
    "s:V1StGXR8_Z5jdHi6B-myT": "s:{token}",
    "c:clh3k2j5k0000qzrmn831i7rn": "c:{token}",
    "t:eyJhbGciOiJIUzI1NiJ9": "t:{token}",
    "x:5f3c9a1b2c": "x:{hex}",
    "log:2026-11-26T10:15:00Z": "log:{date}",
    "log:2026-11-26": "log:{date}",
    "log:20261126101500": "log:{date}",
    "at:1732612345": "at:{time}",
    "at:1732612345678": "at:{time}",
    # words that hold digits, and rows of numbers
    "oauth2:i18n:s3:v1:sha256": "oauth2:i18n:s3:v1:sha256",
    "a:1:2:3": "a:{id}:{id}:{id}",
    "app.users.list": "app.users.list",
    "user.id": "user.id",
    "12:34:56": "{id}:{id}:{id}",
}


@pytest.mark.parametrize(("key", "pattern"), {**LIBRARIES, **SHAPES}.items())
def test_keys_fold_to_patterns(key: str, pattern: str) -> None:
    assert fold(key.encode()) == pattern


@pytest.mark.parametrize(
    ("key", "pattern"),
    [
        (b"\xac\xed\x00\x05t\x00\x05:user:7", "{bytes}:user:{id}"),
        (b"user:\xff\xfe:cart", "user:{bytes}:cart"),
        (b"evil:\x1b[31m:x", "evil:{bytes}:x"),
        ("bidi:\u202egpj:x".encode(), "bidi:{bytes}:x"),
        ("straße:köln".encode(), "straße:köln"),
        (b"", ""),
    ],
)
def test_keys_that_are_not_text(key: bytes, pattern: str) -> None:
    assert fold(key) == pattern


def test_a_long_key_is_cut() -> None:
    assert fold(b"x" * 50_000_000) == "x" * MAX_BYTES + "…"


@given(
    st.binary(max_size=MAX_BYTES // 4)
    | st.text(max_size=MAX_BYTES // 16).map(lambda text: text.encode("utf-8", "replace"))
)
@example(b"1:2:3:4:5:6:7:8")
@example(b"20261126:99990000")
@example(b"{id}{date}20261126{")
def test_a_pattern_can_be_printed_and_folds_to_itself(key: bytes) -> None:
    pattern = fold(key)
    assert pattern.isprintable()
    assert fold(pattern.encode()) == pattern


@given(st.from_regex(rb"[a-z]{3,8}", fullmatch=True), st.integers(0, 10**9), st.uuids())
def test_ids_do_not_make_patterns(word: bytes, number: int, uuid: object) -> None:
    assert fold(b"%s:%d:%s" % (word, number, str(uuid).encode())) == f"{word.decode()}:{{id}}:{{uuid}}"


@given(st.binary(max_size=400))
def test_a_key_is_shown_without_what_steers_a_terminal(key: bytes) -> None:
    assert show_key(key).isprintable()


def test_how_keys_are_shown() -> None:
    assert show_key(b"a\x1b[31m\xff[red]") == r"a\x1b[31m\xff[red]"
    assert show_key(b"x" * 10_000_000) == "x" * 120 + "…"
    assert not re.search(r"…", show_key(b"x" * 120))
