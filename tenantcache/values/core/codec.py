"""How a value becomes what is stored, and back."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Codec(Protocol[T]):
    """Of one type. `fingerprint` tells it from other types, and from the same type with other fields; it is part of the
    key in Redis. "" is that of plain JSON."""

    @property
    def fingerprint(self) -> str: ...

    def encode(self, value: T) -> bytes:
        """JSON in UTF-8, or MessagePack. Raises TypeError or ValueError."""
        ...

    def decode(self, body: bytes) -> T:
        """The value anew, so that each caller has its own. Raises ValueError if these bytes are not of this type."""
        ...

    def is_immutable(self, value: T) -> bool:
        """Whether all callers may be given the same object."""
        ...


_IMMUTABLE = (str, int, float, bool, type(None))


class JsonCodec:
    """`Codec` of what JSON has: dict, list, str, int, float, bool. `loads` is a faster reader of JSON, which raises
    ValueError for what the standard library alone can read."""

    def __init__(self, fingerprint: str = "", loads: Callable[[bytes], Any] = json.loads) -> None:
        self.fingerprint: str = fingerprint
        self._loads = loads

    def encode(self, value: Any) -> bytes:
        try:
            text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        except TypeError as error:
            raise TypeError(
                f"{error}. Let the loader return what JSON has (dict, list, str, int, float, bool), or give type="
            ) from error
        return text.encode("utf-8", "surrogatepass")

    def decode(self, body: bytes) -> Any:
        try:
            return self._loads(body)
        except (ValueError, RecursionError):
            return self._decode_slowly(body)

    def is_immutable(self, value: Any) -> bool:
        return isinstance(value, _IMMUTABLE)

    def _decode_slowly(self, body: bytes) -> Any:
        try:
            return json.loads(body)
        except RecursionError as error:
            raise ValueError("it is nested too deeply") from error
