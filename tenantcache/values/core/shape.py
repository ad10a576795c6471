"""The fingerprint of a type: two releases read each other's values only if their fingerprints are equal.

Code of two releases runs side by side during a deployment. A field that was added with a default would be read from
the old form without complaint, and have the default. So the fingerprint is part of the key in Redis, and each release
reads its own. It depends on the names and types of fields, on what is nested, and on defaults. It does not depend on
what is written for people, nor on what validators do. An application says that by a version in the model's schema
(`json_schema_extra`), which counts as all else there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Final

DIGITS: Final = 12
"""Hexadecimal, 48 bits. One key is stored by few types, so two of them meet by chance once in 10^14."""

_PROSE = frozenset({"description", "examples"})
_BY_NAME = frozenset({"properties", "$defs"})


def fingerprint(form: str, shape: str) -> str:
    """`form` names what writes the value, `shape` describes its type; both are of any length."""
    return hashlib.sha256(f"{form}\n{shape}".encode()).hexdigest()[:DIGITS]


def describe(schema: Mapping[str, object]) -> str:
    """A JSON Schema as one text, which does not depend on what is written for people."""
    return json.dumps(_without_prose(schema), sort_keys=True, default=repr)


def _without_prose(part: object) -> object:
    if isinstance(part, list):
        return [_without_prose(item) for item in part]
    if not isinstance(part, Mapping):
        return part
    found: dict[object, object] = {}
    for key, inner in part.items():
        if key in _BY_NAME and isinstance(inner, Mapping):
            found[key] = {name: _without_prose(schema) for name, schema in inner.items()}
        elif key not in _PROSE:
            found[key] = _without_prose(inner)
    return found
