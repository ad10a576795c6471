"""What is stored of a type comes back as it was, and not as another type's."""

from __future__ import annotations

import dataclasses
import enum
import json
import logging
import pickle
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import partial
from types import SimpleNamespace
from typing import Annotated, Any, Generic, Literal, NamedTuple, NotRequired, Optional, TypedDict, TypeVar

import msgspec
import pydantic.dataclasses
import pytest
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PrivateAttr, Secret, SecretStr, computed_field

from tenantcache.values import codecs
from tenantcache.values.codecs import Codecs
from tenantcache.values.core.codec import JsonCodec
from tenantcache.values.core.roundtrip import stored_form

T = TypeVar("T")
NOW = datetime(2026, 11, 26, 12, 30, tzinfo=UTC)


def without_msgspec(monkeypatch: pytest.MonkeyPatch) -> Codecs:
    monkeypatch.setattr(codecs, "find_spec", lambda name: None)
    return Codecs()


@pytest.fixture(params=["json", "json without msgspec", "msgpack"])
def made(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Codecs:
    if request.param == "json without msgspec":
        return without_msgspec(monkeypatch)
    return Codecs(is_packed=request.param == "msgpack")


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Plan(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    name: str
    price: Decimal
    since: datetime
    seats: int = Field(1, alias="seatCount")
    colour: Colour = Colour.RED
    _seen: int = PrivateAttr(0)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def label(self) -> str:
        return f"{self.name}!"


class Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    since: datetime
    marks: tuple[int, ...]


class Loud(BaseModel):
    name: Annotated[str, AfterValidator(lambda name: f"{name}!")]


class Page(BaseModel, Generic[T]):
    items: list[T]
    total: int


class Tree(BaseModel):
    name: str
    below: list[Tree] = []


class Above(BaseModel):
    a: int


class Below(Above):
    b: int = 0


class Cat(BaseModel):
    is_a: Literal["cat"] = "cat"


class Dog(BaseModel):
    is_a: Literal["dog"] = "dog"


class AnyField(BaseModel):
    found: Any


class Hidden(BaseModel):
    name: str
    note: str = Field(default="", exclude=True)


class Octets(BaseModel):
    octets: bytes


class Login(BaseModel):
    name: str
    password: SecretStr


@dataclasses.dataclass
class Limits:
    by_name: dict[str, int] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class Settings:
    theme: str
    limits: Limits = dataclasses.field(default_factory=Limits)
    until: date | None = None


@dataclasses.dataclass(frozen=True)
class Frozen:
    theme: str
    sizes: tuple[int, ...]
    inner: Frozen | None = None


@dataclasses.dataclass(frozen=True)
class FrozenAround:
    inner: list[int]


@dataclasses.dataclass
class Box(Generic[T]):
    held: T


class Point(NamedTuple):
    x: int
    y: int = 0


class Row(TypedDict):
    name: str
    note: NotRequired[str]


class Struct(msgspec.Struct):
    name: str
    at: datetime | None = None


class FrozenStruct(msgspec.Struct, frozen=True):
    name: str


@dataclasses.dataclass
class LoginData:
    password: SecretStr


PLAN = Plan(name="pro", price=Decimal("9.90"), since=NOW, seatCount=5)
VALUES: list[tuple[Any, Any]] = [
    (Plan, PLAN),
    (Plan | None, PLAN),
    (Optional[Plan], PLAN),  # noqa: UP045  # it is another object
    (list[Plan], [PLAN]),
    (dict[str, Plan], {"a": PLAN}),
    (Strict, Strict(since=NOW, marks=(1, 2))),
    (Page[Plan], Page[Plan](items=[PLAN], total=1)),
    (Tree, Tree(name="a", below=[Tree(name="b")])),
    (Above | Below, Below(a=1, b=2)),
    (Cat | Dog, Dog()),
    (AnyField, AnyField(found={"a": [1, None]})),
    (Settings, Settings("dark", Limits({"a": 1}), date(2026, 1, 2))),
    (list[Settings], [Settings("dark"), Settings("ä")]),
    (Frozen, Frozen("dark", (1,), Frozen("light", ()))),
    (Box[int], Box(1)),
    (Point, Point(1, 2)),
    (dict[str, Decimal], {"a": Decimal("1.10")}),
    (dict[int, str], {1: "a"}),
    (dict[uuid.UUID, int], {uuid.UUID(int=5): 1}),
    (set[int], {1, 2}),
    (frozenset[str], frozenset("ab")),
    (tuple[int, str], (1, "a")),
    (Colour, Colour.BLUE),
    (datetime, NOW),
    (datetime | date, date(2026, 1, 2)),
    (timedelta, timedelta(days=1, microseconds=3)),
    (uuid.UUID, uuid.UUID(int=7)),
    (bytes, b"\xff\x00"),
    (int | str, "1"),
    (None, {"a": [1, 2.5, None, True, "ä", 1 << 60]}),
    (Any, {"a": 1}),
    (dict[str, Any], {"a": 1}),
]
BY_MSGSPEC: list[tuple[Any, Any]] = [
    (Row, {"name": "a"}),
    (list[Row], [{"name": "a", "note": "b"}]),
    (Struct, Struct("a", NOW)),
    (list[FrozenStruct], [FrozenStruct("a")]),
]


@pytest.mark.parametrize(("form", "value"), VALUES)
def test_it_comes_back(made: Codecs, form: Any, value: Any) -> None:
    _, found = stored_form(made.of(form), value)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("is_packed", [False, True])
@pytest.mark.parametrize(("form", "value"), BY_MSGSPEC)
def test_what_msgspec_knows_comes_back(is_packed: bool, form: Any, value: Any) -> None:
    _, found = stored_form(Codecs(is_packed=is_packed).of(form), value)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(("form", "value"), VALUES + BY_MSGSPEC)
def test_a_person_can_read_it(form: Any, value: Any) -> None:
    json.loads(Codecs().of(form).encode(value))


def test_its_names_are_those_of_the_fields() -> None:
    assert json.loads(Codecs().of(Plan).encode(PLAN)) == {
        "name": "pro",
        "price": "9.90",
        "since": "2026-11-26T12:30:00Z",
        "seats": 5,
        "colour": "red",
    }


REFUSED: list[tuple[Any, Any, str]] = [
    (Plan, {"name": "pro"}, r"of type dict, not Plan; give Plan.model_validate\(...\) of it"),
    (Settings, {"theme": "dark"}, "dict"),
    (Above, Below(a=1, b=2), "of type Below and comes back as Above"),
    (Loud, Loud(name="a"), "the value.name comes back as another str; a validator must not change it each time"),
    (Plan, SimpleNamespace(**vars(PLAN)), "of type SimpleNamespace, not Plan; give Plan.model_validate"),
    (AnyField, AnyField(found={"at": NOW}), r"the value.found\['at'\] is of type datetime and comes back as str"),
    (Decimal | str, "1.1", "of type str and comes back as Decimal"),
    (Octets, Octets(octets=b"\xff"), "not UTF-8; give its model ser_json_bytes and val_json_bytes 'base64'"),
    (int, "x", "int"),
    (None, {"at": NOW}, "datetime is not JSON serializable. Let the loader return what JSON has .*, or give type="),
    (None, {1: "a"}, "has the key 1, which does not come back: keys of a JSON object are texts; give type="),
    (None, {(1, 2): "a"}, "keys must be str.*, or give type="),
    (None, PLAN, "Plan is not JSON serializable.*or give type="),
    (dict[str, Any], {"at": NOW}, "datetime is not JSON serializable"),
]


@pytest.mark.parametrize(("form", "value", "message"), REFUSED)
def test_what_would_come_back_otherwise_is_refused(made: Codecs, form: Any, value: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        stored_form(made.of(form), value)


@pytest.mark.parametrize(("form", "value"), [(float, float("nan")), (None, {"a": float("nan")})])
def test_json_has_no_nan(form: Any, value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for made in (Codecs(), without_msgspec(monkeypatch)):
        with pytest.raises((TypeError, ValueError), match=r"null|number|JSON compliant"):
            stored_form(made.of(form), value)


def test_no_message_has_what_is_in_a_value(made: Codecs) -> None:
    secret = "hunter2"
    for form, value in (
        (Plan, {"name": secret}),
        (list[int], [secret]),
        (AnyField, AnyField(found=(secret.encode(), 1))),
    ):
        with pytest.raises((TypeError, ValueError)) as raised:
            stored_form(made.of(form), value)
        assert secret not in str(raised.value)
    with pytest.raises(ValueError, match=r".") as raised_by_decode:
        made.of(Plan).decode(Codecs().of(None).encode({"name": secret}))
    assert secret not in str(raised_by_decode.value)


def test_tuples_become_lists_and_what_is_excluded_is_left_out(made: Codecs) -> None:
    assert stored_form(made.of(None), [(1, 2)])[1] == [[1, 2]]
    assert stored_form(made.of(Hidden), Hidden(name="a", note="b"))[1] == Hidden(name="a", note="")


def local() -> type:
    @dataclasses.dataclass
    class Local:
        other: Local | None = None

    return Local


@pytest.mark.parametrize(
    ("form", "message"),
    [
        (type(sys), "cannot be written as JSON and read back: .* Give a pydantic model, a dataclass"),
        (Codecs, "cannot be written as JSON and read back"),
        (Iterator[int], "cannot be written as JSON and read back"),
        (Callable[[], int], "cannot be written as JSON and read back"),
        (Page, "has the type variable ~T; give the type that it stands for"),
        (list[T], "has the type variable ~T"),  # type: ignore[valid-type]
        ("Plan", "has the name 'Plan' in place of a type"),
        (list["Plan"], "has the name 'Plan' in place of a type"),
        (local(), "has an annotation that cannot be resolved: name 'Local' is not defined"),
        (Login, "has a secret, which is not for Redis"),
        (dict[str, list[Login]], "has a secret"),
        (LoginData, "has a secret"),
        (Secret[int], "has a secret"),
    ],
)
def test_a_type_that_cannot_be_written_is_refused(made: Codecs, form: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        made.of(form)


def test_a_class_that_is_made_for_each_call_is_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    def make() -> Any:
        class Local(BaseModel):
            a: int

        return Local

    made = Codecs()
    first: Any = make()
    with caplog.at_level(logging.WARNING):
        made.of(first)
        made.of(list[first])
        assert caplog.messages == []
        made.of(make())
    assert len(caplog.messages) == 1
    assert "make.<locals>.Local is made anew with each call" in caplog.messages[0]


def test_messagepack_is_smaller() -> None:
    rows = [{"id": number, "is_active": True} for number in range(100)]
    assert len(Codecs(is_packed=True).of(None).encode(rows)) < 0.8 * len(Codecs().of(None).encode(rows))


# Fingerprints.


def _made(base: Any, namespace: dict[str, Any], annotations: dict[str, Any]) -> Any:
    return type(base)("Form", (base,), {"__annotations__": annotations, **namespace})


_model, _struct = partial(_made, BaseModel), partial(_made, msgspec.Struct)


def _dataclass(namespace: dict[str, Any], annotations: dict[str, Any]) -> Any:
    return dataclasses.dataclass(_made(object, namespace, annotations))


@pytest.mark.parametrize("make", [_model, _dataclass, _struct])
def test_other_fields_have_another_fingerprint(make: Callable[..., Any]) -> None:
    forms: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({}, {"a": int}),
        ({}, {"b": int}),
        ({}, {"a": str}),
        ({}, {"a": datetime}),
        ({}, {"a": Decimal}),
        ({}, {"a": int | None}),
        ({}, {"a": Literal["x"]}),
        ({}, {"a": Colour}),
        ({}, {"a": Frozen}),
        ({"a": 1}, {"a": int}),
        ({"b": 1}, {"a": int, "b": int}),
        ({"b": 2}, {"a": int, "b": int}),
        ({"b": ""}, {"a": int, "b": str}),
    ]
    found = {Codecs().of(make(*form)).fingerprint for form in forms}
    assert len(found) == len(forms)
    assert "" not in found
    assert {Codecs().of(make(*form)).fingerprint for form in forms} == found


def test_what_is_nested_counts(made: Codecs) -> None:
    def enumeration(*names: str) -> Any:
        return enum.Enum("Inner", {name: name for name in names})

    for make in (_model, _dataclass):
        forms = [make({}, {"a": int}), make({}, {"a": int, "b": int})]
        assert len({made.of(list[form]).fingerprint for form in forms}) == 2  # type: ignore[valid-type]
        found = {made.of(make({}, {"a": enumeration(*names)})).fingerprint for names in (("x",), ("x", "y"))}
        assert len(found) == 2


def test_prose_does_not_count_and_a_field_of_its_name_does(made: Codecs) -> None:
    plain = _model({}, {"a": int})
    told = _model({"__doc__": "Told.", "a": Field(description="a number", examples=[1])}, {"a": int})
    named = _model({}, {"a": int, "description": str})
    other = _model({}, {"a": int, "description": int})
    assert made.of(plain).fingerprint == made.of(told).fingerprint
    assert len({made.of(form).fingerprint for form in (plain, named, other)}) == 3


def test_a_version_in_the_schema_of_a_model_counts(made: Codecs) -> None:
    """For what the schema does not show, such as validators (docs/values.md)."""
    versions: list[Any] = [ConfigDict(json_schema_extra={"version": number}) for number in (1, 2)]
    models = [_model({}, {"a": int}), *(_model({"model_config": version}, {"a": int}) for version in versions)]
    own = [pydantic.dataclasses.dataclass(_made(object, {}, {"a": int}), config=version) for version in versions]
    for forms in (models, own, [list[model] for model in models], [_model({}, {"a": model}) for model in models]):  # type: ignore[valid-type]
        assert len({made.of(form).fingerprint for form in forms}) == len(forms)


def test_each_form_has_a_fingerprint_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    forms = (None, Settings, Frozen, Plan, dict[str, Any], list[Any])
    found = [Codecs(is_packed=is_packed).of(form).fingerprint for form in forms for is_packed in (False, True)]
    assert len(set(found)) == len(found)
    assert without_msgspec(monkeypatch).of(Settings).fingerprint not in found
    assert JsonCodec().fingerprint == ""


def test_every_process_has_the_same_fingerprints() -> None:
    code = (
        "from tests.values.test_codecs import VALUES, BY_MSGSPEC; from tenantcache.values.codecs import Codecs;"
        "print([Codecs().of(form).fingerprint for form, _ in VALUES + BY_MSGSPEC])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert told.stdout.strip() == str([Codecs().of(form).fingerprint for form, _ in VALUES + BY_MSGSPEC])


# What lies in Redis is of any origin.


@pytest.mark.parametrize("form", [Plan, Settings, list[Settings]])
@pytest.mark.parametrize("body", [b"", b"{}", b"[1]", b"null", b"\xff\xfe", b'{"theme":1}', pickle.dumps({"a": 1})])
def test_what_cannot_be_decoded_is_a_value_error(made: Codecs, form: Any, body: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        made.of(form).decode(body)


@pytest.mark.parametrize("form", [None, AnyField])
def test_what_is_nested_too_deeply_is_a_value_error(made: Codecs, form: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        made.of(form).decode(b"[" * 100_000)


def test_json_that_msgspec_cannot_read_is_read() -> None:
    assert Codecs().of(None).decode(b'"\\ud800"') == "\ud800"


# Who may have the same object.


@pytest.mark.parametrize(
    ("form", "is_shared"),
    [
        (Plan, False),
        (Strict, True),
        (Strict | None, True),
        (Settings, False),
        (Frozen, True),
        (FrozenAround, False),
        (Point, True),
        (Struct, False),
        (FrozenStruct, True),
        (Row, False),
        (list[int], False),
        (tuple[list[int], ...], False),
        (tuple[int | str, ...], True),
        (frozenset[str], True),
        (dict[str, int], False),
        (_model({"model_config": ConfigDict(frozen=True, extra="allow")}, {"a": int}), False),
        (_model({"model_config": ConfigDict(frozen=True)}, {"a": Any}), False),
    ],
)
def test_only_what_is_frozen_throughout_is_given_to_all(form: Any, is_shared: bool) -> None:
    assert Codecs().of(form).is_immutable(None) is is_shared


def test_numbers_that_messagepack_lacks_are_refused() -> None:
    for form in (None, list[int]):
        with pytest.raises(ValueError, match="MessagePack"):
            Codecs(is_packed=True).of(form).encode([1 << 70])


def test_codecs_are_made_once_and_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codecs, "MAX_CODECS", 5)
    made = Codecs()
    assert made.of(Settings) is made.of(Settings)
    for _ in range(20):
        made.of(_model({}, {"a": int}))
    assert len(made._made) <= 5
