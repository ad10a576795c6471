"""Whether a value comes back from its stored form as it was.

What comes back as something else would be one thing after a miss and another after a hit. So the first caller is given
what comes back as well, and a value that changes on its way is refused: a date in a field of type Any, which would come
back as a text; an instance of a subclass, which would lose its own fields.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from tenantcache.values.core.codec import Codec

_SEQUENCES = (list, tuple)
_ADVICE = "; give type=, or the field, a type that says what it is"


def stored_form(codec: Codec[Any], value: Any) -> tuple[bytes, Any]:
    """What is stored of `value`, and what comes back. Raises TypeError if that differs, and what the codec raises."""
    body = codec.encode(value)
    try:
        back = codec.decode(body)
    except ValueError as error:
        raise TypeError(f"the value cannot be read back from its stored form: {error}") from None
    if change := first_change(value, back, "the value"):
        raise TypeError(change)
    return body, back


def first_change(before: Any, after: Any, place: str) -> str | None:
    """What of `before` has come back as something else; None if nothing has. A tuple may come back as a list."""
    if before == after:
        return None
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        return _first(_changes_of_keys(before, after, place))
    if isinstance(before, _SEQUENCES) and isinstance(after, _SEQUENCES) and len(before) == len(after):
        return _first(first_change(*pair, f"{place}[{n}]") for n, pair in enumerate(zip(before, after, strict=True)))
    if type(before) is not type(after):
        return f"{place} is of type {type(before).__qualname__} and comes back as {type(after).__qualname__}{_ADVICE}"
    names = _fields(type(before))
    if names is None:
        is_comparable = any("__eq__" in vars(one) for one in type(before).__mro__[:-1])
        told = f"{place} comes back as another {type(before).__qualname__}; a validator must not change it each time"
        return told if is_comparable else None
    return _first(first_change(getattr(before, n), getattr(after, n), f"{place}.{n}") for n in names)


def _changes_of_keys(before: Mapping[Any, Any], after: Mapping[Any, Any], place: str) -> Iterator[str | None]:
    for key in before:
        if key in after:
            yield first_change(before[key], after[key], f"{place}[{key!r:.60}]")
        else:
            yield f"{place} has the key {key!r:.60}, which does not come back: keys of a JSON object are texts{_ADVICE}"


def _first(changes: Iterator[str | None]) -> str | None:
    return next(filter(None, changes), None)


def _fields(kind: type[Any]) -> list[str] | None:
    """Those of a model, a dataclass or a Struct that are stored; None if it is none of these."""
    if isinstance(fields := getattr(kind, "model_fields", None), Mapping):
        return [name for name, field in fields.items() if not field.exclude]
    if dataclasses.is_dataclass(kind):
        return [field.name for field in dataclasses.fields(kind)]
    return list(fields) if (fields := getattr(kind, "__struct_fields__", None)) is not None else None
