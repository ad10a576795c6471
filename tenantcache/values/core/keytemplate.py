"""The key of a call of a function, by a template like `profile:{user_id}`.

Two calls with different arguments have different keys. Within an argument `:` and `%` are escaped, and between two of
them stands a `:`. So `("a:b", "c")` and `("a", "b:c")` differ. A tag is filled as it is: two that come out equal are
invalidated together, which is always right, and a tag that code or a table names by hand is the same text.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from enum import Enum
from string import Formatter
from typing import Final

NONE: Final = "%none"
"""In place of None. No text can be that, since its `%` is escaped."""

_TEXTS = (str, int, float)
_PLAIN = frozenset({str, int})


class KeyTemplate:
    """`names` are the parameters that it uses. A part of an argument is named by dots: `{user.id}`."""

    def __init__(self, text: str) -> None:
        """Raises ValueError, with what would be right."""
        self.text: str = text
        self._parts: list[tuple[str, str, tuple[str, ...]]] = []
        self._end = ""
        for literal, field, spec, conversion in Formatter().parse(text):
            if field is None:
                self._end = literal
                continue
            if self._parts and ":" not in literal:
                raise ValueError(f"{text!r} has {{{field}}} beside another parameter; put a : between them")
            name, *path = field.split(".")
            if spec or conversion or not all(part.isidentifier() for part in (name, *path)):
                raise ValueError(f"{text!r} has a field that is not the name of a parameter, like {{user_id}}")
            self._parts.append((literal, name, tuple(path)))

    @property
    def names(self) -> list[str]:
        return [name for _, name, _ in self._parts]

    @property
    def pattern(self) -> str:
        """The same for all templates whose keys may be equal."""
        return "".join(f"{literal}{{}}" for literal, _, _ in self._parts) + self._end

    def fill(self, places: Sequence[int], arguments: Sequence[object], *, is_key: bool) -> str:
        """`places`: which of `arguments` each name stands for. Raises TypeError for what has no text."""
        found: list[str] = []
        for (literal, name, path), place in zip(self._parts, places, strict=True):
            argument = arguments[place]
            for attribute in path:
                argument = getattr(argument, attribute)
            if argument is None and is_key:
                found += literal, NONE
                continue
            text = str(argument) if type(argument) in _PLAIN else _text(argument, name)
            if is_key and ("%" in text or ":" in text):
                text = text.replace("%", "%25").replace(":", "%3A")
            found += literal, text
        return "".join(found) + self._end


def _text(argument: object, name: str) -> str:
    """Of what is equal in all processes: a number, or what has a text of its own, such as a UUID or a date."""
    if isinstance(argument, Enum):
        return _text(argument.value, name)
    if argument is None or isinstance(argument, _TEXTS):
        return str(argument)
    kind = type(argument)
    is_compound = dataclasses.is_dataclass(kind) or hasattr(kind, "model_fields") or isinstance(argument, bytes)
    if kind.__str__ is object.__str__ or is_compound:
        raise TypeError(
            f"{name} is of type {kind.__qualname__}, which has no text to be part of a key; name a part of it, like"
            f" {{{name}.id}}, or ignore={[name]!r}"
        )
    return str(argument)
