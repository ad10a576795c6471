"""The key of a call of a function, by a template like `profile:{user_id}`.

Two calls with different arguments have different keys. Within an argument `:` and `%` are escaped, and between two of
them stands a `:`. So `("a:b", "c")` and `("a", "b:c")` differ. A tag is filled as it is: two that come out equal are
invalidated together, which is always right, and a tag that code or a table names by hand is the same text.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from enum import Enum
from string import Formatter
from typing import Final

NONE: Final = "%none"
"""In place of None. No text can be that, since its `%` is escaped."""

_TEXTS = (str, int, float)


class KeyTemplate:
    """`parts` are a literal, the name of a parameter, and the path to a part of it: `{user.id}`. `end` is a literal."""

    def __init__(self, text: str) -> None:
        """Raises ValueError, with what would be right."""
        self.text: str = text
        self.parts: list[tuple[str, str, tuple[str, ...]]] = []
        self.end: str = ""
        try:
            fields = list(Formatter().parse(text))
        except ValueError as error:
            raise ValueError(
                f"{text!r} has a brace alone ({error}); write {{{{ or }}}} for one that is meant"
            ) from None
        for literal, field, spec, conversion in fields:
            self.end += literal  # a brace that is meant comes by itself
            if field is None:
                continue
            if self.parts and ":" not in self.end:
                raise ValueError(f"{text!r} has {{{field}}} beside another name; put a : between them")
            name, *path = field.split(".")
            if spec or conversion or not all(part.isidentifier() for part in (name, *path)):
                raise ValueError(f"{text!r} has a field that is not a name, like {{user_id}}")
            self.parts.append((self.end, name, tuple(path)))
            self.end = ""

    @property
    def names(self) -> list[str]:
        return [name for _, name, _ in self.parts]

    @property
    def pattern(self) -> str:
        """The same for all templates whose keys may be equal."""
        return "".join(f"{literal}{{}}" for literal, _, _ in self.parts) + self.end

    def renamed(self, names: Mapping[str, str]) -> str:
        """The text with other names."""
        texts = [f"{_braces(literal)}{{{names[name]}}}" for literal, name, _ in self.parts]
        return "".join(texts) + _braces(self.end)


class BoundTemplate:
    """A template of a function's calls. `places` says which of their arguments each name stands for.

    Both methods raise TypeError for what has no text.
    """

    __slots__ = ("_end", "_fields")

    def __init__(self, template: KeyTemplate, places: Sequence[int]) -> None:
        self._fields: list[tuple[str, int, str, tuple[str, ...]]] = [
            (literal, place, name, path) for (literal, name, path), place in zip(template.parts, places, strict=True)
        ]
        self._end = template.end

    def key(self, arguments: Sequence[object]) -> str:
        """That of a call. A hit makes it: it is counted in tests/regressions/test_hot_values.py."""
        found = ""
        for literal, place, name, path in self._fields:
            text = arguments[place]
            if type(text) is not str or path:
                given = _read(text, path)
                if given is None:
                    found += literal + NONE
                    continue
                text = _text(given, name)
            if "%" in text or ":" in text:
                text = text.replace("%", "%25").replace(":", "%3A")
            found += literal + text
        return found + self._end

    def tag(self, arguments: Sequence[object]) -> str:
        fields = self._fields
        return "".join(lit + _text(_read(arguments[at], path), name) for lit, at, name, path in fields) + self._end


def _read(argument: object, path: Sequence[str]) -> object:
    for attribute in path:
        argument = getattr(argument, attribute)
    return argument


def _braces(literal: str) -> str:
    return literal.replace("{", "{{").replace("}", "}}")


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
