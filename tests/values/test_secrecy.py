"""What is taken for a secret, and what is not: of each both sides."""

from __future__ import annotations

import json
from collections import namedtuple
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
from pydantic import BaseModel, SecretBytes, SecretStr

from tenantcache.values.core.secrecy import (
    MOST_LOOKED_AT,
    NAMES,
    WRAPPED,
    may_hold_secret,
    secret_in_json,
    secret_in_key,
    secret_in_value,
    shown_pattern,
)

JWT = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"


@pytest.mark.parametrize("name", [*NAMES, *(name.upper() for name in NAMES)])
def test_stored_forms_of_all_of_them_are_looked_into(name: str) -> None:
    assert may_hold_secret(json.dumps({"id": 1, name: "4f9c1b"}).encode())
    assert not may_hold_secret(b'{"id":1,"name":"Ann","theme":"dark","roles":["a"]}')


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("password", "password"),
        ("Password", "password"),
        ("old_password", "password"),
        ("password_hash", "password hash"),
        ("hashedPassword", "password"),
        ("accessToken", "token"),
        ("refresh_token", "token"),
        ("client_secret", "secret"),
        ("webhookSecret", "secret"),
        ("api_key", "api key"),
        ("X-API-Key", "api key"),
        ("stripe_api_key", "api key"),
        ("private_key", "private key"),
        ("aws_secret_access_key", "access key"),
        ("card_number", "card number"),
        ("cardNumber", "card number"),
        ("cvv", "cvv"),
    ],
)
def test_names_of_secrets(name: str, expected: str) -> None:
    assert secret_in_value({"id": 1, name: "4f9c1b"}) == expected


@pytest.mark.parametrize(
    "value",
    [
        {"password_changed_at": "2026-01-01", "password_policy": "strict", "has_password": True},
        {"tokens": 5, "max_tokens": 100, "token_count": 3, "tokenizer": "bpe"},
        {"secret": True, "is_secret": False, "secretary": "Ann", "token": None},
        {"next_page_token": "abc", "nextPageToken": "abc", "sync_token": "x1", "continuation_token": "x"},
        {"csrf_token": "4f9c1b", "xsrfToken": "4f9c1b", "design_token": "blue-500"},
        {"password": "", "api_key": "***", "card_number": "**** **** **** 4242", "token": "xxxx-1234"},
        {"public_key": "ssh-ed25519 AAAA", "key": "a", "keys": ["b"], "primary_key": "id", "foreign_key": "x"},
        {"author": "Ann", "card": "gold", "card_type": "visa", "number": "4242424242424242"},
        {"compass": "n", "passenger": "Bob", "passport_country": "DE", "monkey": "x", "tokenized": "yes"},
        ["password", "token"],
        "password",
        b"secret",
        None,
        7,
    ],
)
def test_what_is_not_a_secret(value: Any) -> None:
    assert secret_in_value(value) is None


@dataclass
class Account:
    name: str
    api_key: str


class Model(BaseModel):
    name: str
    api_key: str


class Struct(msgspec.Struct):
    name: str
    api_key: str


Named = namedtuple("Named", ["name", "api_key"])


@pytest.mark.parametrize("kind", [Account, Model, Struct, Named, dict])
def test_every_form_of_a_value_is_looked_into(kind: Any) -> None:
    assert secret_in_value(kind(name="acme", api_key="4f9c1b")) == "api key"
    assert secret_in_value({"rows": [{"of": kind(name="acme", api_key="4f9c1b")}]}) == "api key"
    assert secret_in_value(kind(name="acme", api_key="")) is None


@pytest.mark.parametrize("secret", [SecretStr("4f9c1b"), SecretBytes(b"4f9c1b")])
def test_what_is_declared_secret(secret: Any) -> None:
    class Holder(BaseModel):
        anything: Any

    for value in (secret, {"x": secret}, [secret], Holder(anything=secret)):
        assert secret_in_value(value) == WRAPPED


def test_no_more_is_looked_at_than_the_bound() -> None:
    assert secret_in_value([*range(MOST_LOOKED_AT - 3), {"password": "4f9c1b"}]) == "password"
    assert secret_in_value([*range(MOST_LOOKED_AT), {"password": "4f9c1b"}]) is None
    endless: dict[str, Any] = {}
    endless["self"] = endless
    assert secret_in_value(endless) is None


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (f"session:{JWT}", "a JWT"),
        (JWT, "a JWT"),
        (f"user:{JWT}:roles", "a JWT"),
        ("user:Bearer abcdef0123456789abcdef", "an access token"),
        ("plan:sk_live_" + "4eC39HqLyjWDarjtT1zdp7dc", "an access token"),
        ("repo:ghp_" + "16C7e42F292c6912E7710c838347Ae178B4a", "an access token"),
        ("slack:xoxb-" + "263594206564-2343594206574-FGqddMF8t08v8N7Oq4i57vs1", "an access token"),
        ("ci:glpat-" + "AbCdEf123456GhIjKl78", "an access token"),
        ("reset_token:AbCdE12fGhIjK3lMnOpQ4", "a token"),
        ("api-key:AbCdE12fGhIjK3lMnOpQ4:plan", "a token"),
        ("login/password=AbCdE12fGhIjK3lMnOpQ4", "a token"),
    ],
)
def test_secrets_in_keys(key: str, expected: str) -> None:
    assert secret_in_key(key) == expected


@pytest.mark.parametrize(
    "key",
    [
        "settings",
        "profile:123456789012345678",  # a snowflake
        "user:0b7b1c2e-1111-4222-8333-abcdefabcdef:profile",
        "token:0b7b1c2e-1111-4222-8333-abcdefabcdef",
        "token:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",  # a hash of one
        "api_key:9F86D081884C7D659A2FEAA0C55AD015",
        "etag:d41d8cd98f00b204e9800998ecf8427e",
        "commit:da39a3ee5e6b4b0d3255bfef95601890afd80709",
        "feed:cursor:eyJpZCI6MTIzLCJkaXIiOiJuZXh0In0=",
        "node:VXNlcjoxMjM0NTY3ODkwMTIzNDU2",
        "customer:cus_NffrFeUfNV2Hib",
        "price:price_1MoBy5LkdIwHu7ixZhnattbh:plan",
        "user:auth0|507f1f77bcf86cd799439011",
        "firebase:AbCdEfGhIjKlMnOpQrStUvWxYz12",
        "ulid:01ARZ3NDEKTSV4RRFFQ69G5FAV",
        "tokens:count:2026-11-26:engineering",
        "token:settings:of-the-design-system",
        "secret-santa:2026:group:42:members",
        "password-policy:global-settings-of-acme",
        "mail:ann.smith+news@example.com:prefs",
        "page:/docs/api/tokens/How-To-Rotate-A-Token",
    ],
)
def test_ordinary_keys_hold_no_secret(key: str) -> None:
    assert secret_in_key(key) is None


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (f"session:{JWT}:roles", "session:{secret}:roles"),
        ("plan:sk_live_" + "4eC39HqLyjWDarjtT1zdp7dc", "plan:{secret}"),
        ("reset_token:AbcdefghijklmnopQ4:x", "reset_token:{secret}:x"),  # too like words to be folded
        ("user:42:profile", "user:{id}:profile"),
    ],
)
def test_patterns_are_shown_without_secrets(key: str, expected: str) -> None:
    assert shown_pattern(key) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"user":"ann","password":"hunter2"}', "password"),
        ('{"a":[{"accessToken": "4f9c1b', "token"),
        ('{"password":"","api_key":"***","next_page_token":"x9"}', None),
        ('{"password":true,"token":5,"secret":null}', None),
        ('["password","hunter2"]', None),
        ("", None),
    ],
)
def test_secrets_in_stored_values(text: str, expected: str | None) -> None:
    assert secret_in_json(text.encode()) == expected
    assert secret_in_json(b"\xff" + text.encode() + b"\xff") == expected
