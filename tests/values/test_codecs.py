"""What is stored of a type comes back as it was, and not as another type's."""

from __future__ import annotations

import dataclasses
import json
import pickle
import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple

import pytest
from pydantic import BaseModel, ConfigDict, Field, SecretStr, computed_field

from tenantcache.values.codecs import MAX_CODECS, Codecs, ModelCodec
from tenantcache.values.core.codec import JsonCodec


class Plan(BaseModel):
    name: str
    price: Decimal
    since: datetime
    seats: int = Field(1, alias="seatCount")

    @computed_field  # type: ignore[prop-decorator]
    @property
    def label(self) -> str:
        return f"{self.name}!"


class Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    since: datetime
    marks: tuple[int, ...]


@dataclasses.dataclass
class Settings:
    theme: str
    limits: dict[str, int]


@dataclasses.dataclass(frozen=True)
class Frozen:
    theme: str
    sizes: tuple[int, ...]
    inner: Frozen | None = None


@dataclasses.dataclass(frozen=True)
class FrozenAround:
    inner: list[int]


class Point(NamedTuple):
    x: int
    y: int


NOW = datetime(2026, 11, 26, 12, 30, tzinfo=UTC)
VALUES: list[tuple[Any, Any]] = [
    (Plan, Plan(name="pro", price=Decimal("9.90"), since=NOW, seatCount=5)),
    (Strict, Strict(since=NOW, marks=(1, 2))),
    (Settings, Settings("dark", {"a": 1})),
    (list[Settings], [Settings("dark", {}), Settings("ä", {})]),
    (Frozen, Frozen("dark", (1,), Frozen("light", ()))),
    (Point, Point(1, 2)),
    (dict[str, Decimal], {"a": Decimal("1.10")}),
    (None, {"a": [1, 2.5, None, True, "ä"]}),
]


@pytest.mark.parametrize("is_packed", [False, True])
@pytest.mark.parametrize(("kind", "value"), VALUES)
def test_it_comes_back(kind: Any, value: Any, is_packed: bool) -> None:
    codec = Codecs(is_packed=is_packed).of(kind)
    found = codec.decode(codec.encode(value))
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(("kind", "value"), VALUES)
def test_a_person_can_read_it(kind: Any, value: Any) -> None:
    json.loads(Codecs().of(kind).encode(value))


def test_messagepack_is_smaller() -> None:
    rows = [{"id": number, "is_active": True} for number in range(100)]
    assert len(Codecs(is_packed=True).of(None).encode(rows)) < len(Codecs().of(None).encode(rows))


def _made(name: str, namespace: dict[str, Any], annotations: dict[str, Any], base: type) -> type:
    return type(base)(name, (base,), {"__annotations__": annotations, **namespace})


@pytest.mark.parametrize("base", [BaseModel])
def test_other_fields_have_another_fingerprint(base: type) -> None:
    forms: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({}, {"a": int}),
        ({}, {"b": int}),
        ({}, {"a": str}),
        ({}, {"a": int | None}),
        ({"a": 1}, {"a": int}),
        ({"b": 1}, {"a": int, "b": int}),
        ({"b": 2}, {"a": int, "b": int}),
        ({"b": ""}, {"a": int, "b": str}),
    ]
    found = {Codecs().of(_made("Form", *form, base)).fingerprint for form in forms}
    assert len(found) == len(forms)
    assert "" not in found


def test_what_is_nested_counts() -> None:
    inner, other = _made("Inner", {}, {"a": int}, BaseModel), _made("Inner", {}, {"a": int, "b": int}, BaseModel)
    assert ModelCodec(list[inner]).fingerprint != ModelCodec(list[other]).fingerprint  # type: ignore[valid-type]


def test_prose_does_not_count_and_a_field_of_its_name_does() -> None:
    plain = _made("Form", {}, {"a": int}, BaseModel)
    told = _made("Form", {"__doc__": "Told.", "a": Field(description="a number", examples=[1])}, {"a": int}, BaseModel)
    named = _made("Form", {}, {"a": int, "description": str}, BaseModel)
    other = _made("Form", {}, {"a": int, "description": int}, BaseModel)
    assert ModelCodec(plain).fingerprint == ModelCodec(told).fingerprint
    assert len({ModelCodec(kind).fingerprint for kind in (plain, named, other)}) == 3


def test_each_form_has_a_fingerprint_of_its_own() -> None:
    kinds = (None, Settings, Frozen)
    found = [Codecs(is_packed=is_packed).of(kind).fingerprint for kind in kinds for is_packed in (False, True)]
    assert len(set(found)) == len(found)
    assert JsonCodec.fingerprint == ""


def test_every_process_has_the_same_fingerprints() -> None:
    code = (
        "from tests.values.test_codecs import VALUES; from tenantcache.values.codecs import Codecs;"
        "print([Codecs().of(kind).fingerprint for kind, _ in VALUES])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert told.stdout.strip() == str([Codecs().of(kind).fingerprint for kind, _ in VALUES])


@pytest.mark.parametrize("is_packed", [False, True])
@pytest.mark.parametrize("kind", [Plan, Settings, list[Settings]])
@pytest.mark.parametrize("body", [b"", b"{}", b"[1]", b"null", b"\xff\xfe", b'{"theme":1}', pickle.dumps({"a": 1})])
def test_what_cannot_be_decoded_is_a_value_error(kind: Any, body: bytes, is_packed: bool) -> None:
    with pytest.raises(ValueError, match=r"."):
        Codecs(is_packed=is_packed).of(kind).decode(body)


@pytest.mark.parametrize(
    ("kind", "is_shared"),
    [
        (Plan, False),
        (Strict, True),
        (Settings, False),
        (Frozen, True),
        (FrozenAround, False),
        (Point, True),
        (list[int], False),
        (tuple[list[int], ...], False),
        (tuple[int | str, ...], True),
        (frozenset[str], True),
        (dict[str, int], False),
        (_made("Extra", {"model_config": ConfigDict(frozen=True, extra="allow")}, {"a": int}, BaseModel), False),
        (_made("Any_", {"model_config": ConfigDict(frozen=True)}, {"a": Any}, BaseModel), False),
    ],
)
def test_only_what_is_frozen_throughout_is_given_to_all(kind: Any, is_shared: bool) -> None:
    assert Codecs().of(kind).is_immutable(None) is is_shared


def test_a_secret_is_not_for_redis() -> None:
    class Login(BaseModel):
        name: str
        password: SecretStr

    with pytest.raises(TypeError, match="has a secret"):
        Codecs().of(dict[str, list[Login]])


def test_a_value_of_another_type_is_refused() -> None:
    with pytest.raises(TypeError, match="dict is not of the type="):
        Codecs().of(Plan).encode({"name": "pro"})


@pytest.mark.parametrize("kind", [type(sys), Codecs])
def test_a_type_that_cannot_be_written_is_refused(kind: Any) -> None:
    with pytest.raises(TypeError, match="type="):
        Codecs().of(kind)


def test_numbers_that_messagepack_lacks_are_refused() -> None:
    with pytest.raises(ValueError, match="MessagePack"):
        Codecs(is_packed=True).of(None).encode([1 << 70])


def test_codecs_are_made_once_and_do_not_pile_up() -> None:
    codecs = Codecs()
    assert codecs.of(Settings) is codecs.of(Settings)
    for number in range(3):
        codecs.of(_made(f"Form{number}", {}, {"a": int}, BaseModel))
    assert len(codecs._made) <= MAX_CODECS
