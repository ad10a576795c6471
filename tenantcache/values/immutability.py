"""Whether an object of a type can be given to every caller, because none of them can change it."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import typing
import uuid
from typing import Any

from tenantcache.values.typeparts import UNIONS, field_types

_LEAVES = frozenset({
    *(str, int, float, bool, complex, bytes, type(None), decimal.Decimal, uuid.UUID),
    *(datetime.datetime, datetime.date, datetime.time, datetime.timedelta),
})  # fmt: skip
_OF_IMMUTABLE = frozenset({tuple, frozenset, *UNIONS})


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
    fields = field_types(kind) if _is_frozen(kind) else None
    return fields is not None and all(_is_immutable(part, within | {kind}) for part in fields)


def _is_frozen(kind: type[Any]) -> bool:
    """Whether its fields cannot be set, and it has no others."""
    if isinstance(config := getattr(kind, "model_config", None), dict):  # pydantic
        is_open = config.get("extra") == "allow" or bool(getattr(kind, "__private_attributes__", None))
        return bool(config.get("frozen")) and not is_open
    if (config := getattr(kind, "__struct_config__", None)) is not None:
        return bool(config.frozen)
    if dataclasses.is_dataclass(kind):
        return bool(kind.__dataclass_params__.frozen)  # type: ignore[attr-defined]
    return issubclass(kind, tuple)
