"""What a type consists of, by its annotations: the types of its fields, its arguments, and theirs."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterable, Iterator
from typing import Any

UNIONS = frozenset({typing.Union, types.UnionType})


def without_none(form: object) -> object:
    """A type that may be None without that: that there is no value is not stored, but remembered."""
    if typing.get_origin(form) not in UNIONS:
        return form
    kept = tuple(part for part in typing.get_args(form) if part is not types.NoneType)
    return typing.Union[kept] if kept else types.NoneType  # noqa: UP007  # they are known at run time only


def field_types(kind: type[Any]) -> list[object] | None:
    """The types of the fields of a model, a dataclass, a Struct, a TypedDict or a NamedTuple; None if it is none of
    these. Raises NameError if an annotation cannot be resolved."""
    if isinstance(fields := getattr(kind, "model_fields", None), dict):
        return [field.annotation for field in fields.values()]
    names: Iterable[str]
    if dataclasses.is_dataclass(kind):
        names = [field.name for field in dataclasses.fields(kind)]
    elif (found := getattr(kind, "__struct_fields__", None)) is not None:
        names = found
    elif issubclass(kind, tuple) and hasattr(kind, "_fields"):
        names = kind._fields
    elif typing.is_typeddict(kind):
        names = kind.__annotations__
    else:
        return None
    hints = typing.get_type_hints(kind, include_extras=True)
    return [hints.get(name, object) for name in names]


def parts(form: object, _met: set[object] | None = None) -> Iterator[object]:
    """`form` and everything in it, each class once. Raises NameError as `field_types` does."""
    met: set[object] = set() if _met is None else _met
    yield form
    origin = typing.get_origin(form)
    if origin is typing.Literal:
        return
    if origin is typing.Annotated:
        yield from parts(typing.get_args(form)[0], met)
        return
    for part in typing.get_args(form):
        if part is not Ellipsis:
            yield from parts(part, met)
    kind = form if origin is None else origin
    if isinstance(kind, type) and kind not in met:
        met.add(kind)
        if origin is not None:
            yield kind
        own = getattr(kind, "__parameters__", ()) if origin is not None else ()
        for part in field_types(kind) or ():
            yield from (inner for inner in parts(part, met) if inner not in own)  # those have been given
