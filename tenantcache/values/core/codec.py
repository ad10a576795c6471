"""How a value becomes what is stored, and back."""

from __future__ import annotations

import json
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Codec(Protocol[T]):
    """Of one type. `fingerprint` tells it from other types, and from the same type with other fields; it is part of the
    key in Redis. "" is that of plain JSON."""

    @property
    def fingerprint(self) -> str: ...

    def encode(self, value: T) -> bytes:
        """JSON in UTF-8. Raises TypeError or ValueError."""
        ...

    def decode(self, body: bytes) -> T:
        """The value anew, so that each caller has its own. Raises ValueError if these bytes are not of this type."""
        ...

    def is_immutable(self, value: T) -> bool:
        """Whether all callers may be given the same object."""
        ...


_IMMUTABLE = (str, int, float, bool, type(None))


class JsonCodec:
    """`Codec` of what JSON has, by the standard library: dict, list, str, int, float, bool."""

    fingerprint = ""

    def encode(self, value: Any) -> bytes:
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode(
            "utf-8", "surrogatepass"
        )

    def decode(self, body: bytes) -> Any:
        return json.loads(body)

    def is_immutable(self, value: Any) -> bool:
        return isinstance(value, _IMMUTABLE)
