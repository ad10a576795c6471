"""Whether an object of a type can be given to every caller, because none of them can change it."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import types
import typing
import uuid

_LEAVES = frozenset({
    *(str, int, float, bool, complex, bytes, type(None), decimal.Decimal, uuid.UUID),
    *(datetime.datetime, datetime.date, datetime.time, datetime.timedelta),
})  # fmt: skip
_OF_IMMUTABLE = frozenset({tuple, frozenset, typing.Union, types.UnionType})


def is_immutable(kind: object) -> bool:
    """Through and through, by its annotations. False in doubt."""
    try:
        return _is_immutable(kind, frozenset())
    except (NameError, TypeError):  # an annotation that cannot be resolved here
        return False


def _is_immutable(kind: object, within: frozenset[type]) -> bool:
    """`within`: the classes of which `kind` is a part. One that refers to itself is judged by its other fields."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Literal:
        return True
    if origin is typing.Annotated:
        return _is_immutable(arguments[0], within)
    if origin in _OF_IMMUTABLE:
        return all(one is Ellipsis or _is_immutable(one, within) for one in arguments)
    if not isinstance(kind, type) or origin is not None:
        return False
    if kind in _LEAVES or kind in within or issubclass(kind, enum.Enum):
        return True
    parts = _parts(kind)
    return parts is not None and all(_is_immutable(part, within | {kind}) for part in parts)


def _parts(kind: type) -> list[object] | None:
    """The types of the fields of a frozen class; None if it is not one."""
    if isinstance(config := getattr(kind, "model_config", None), dict):  # pydantic
        fields: dict[str, typing.Any] = getattr(kind, "model_fields", {})
        if not config.get("frozen") or config.get("extra") == "allow" or getattr(kind, "__private_attributes__", None):
            return None
        return [field.annotation for field in fields.values()]
    names: typing.Iterable[str]
    if dataclasses.is_dataclass(kind):
        if not kind.__dataclass_params__.frozen:  # type: ignore[attr-defined]
            return None
        names = [field.name for field in dataclasses.fields(kind)]
    elif issubclass(kind, tuple) and hasattr(kind, "_fields"):
        names = kind._fields
    else:
        return None
    hints = typing.get_type_hints(kind, include_extras=True)
    return [hints.get(name, object) for name in names]
