"""Codecs by msgspec, which is faster than pydantic and knows its own Structs: of types, and of MessagePack.

MessagePack is smaller than JSON. Without a type, and of what pydantic alone knows, it is that of the JSON.
"""

from __future__ import annotations

import enum
from typing import Any

import msgspec
from msgspec import inspect

from tenantcache.values.core.codec import Codec
from tenantcache.values.core.shape import fingerprint
from tenantcache.values.immutability import is_immutable


class MsgspecCodec:
    """`Codec` of Structs, dataclasses, TypedDict, NamedTuple, and lists or dicts of them."""

    def __init__(self, form: Any, *, is_packed: bool) -> None:
        """Raises TypeError if msgspec does not know `form`, or leaves something in it to others."""
        shape = _shape(inspect.type_info(form), {})
        self.fingerprint: str = fingerprint("msgpack" if is_packed else "msgspec", repr(shape))
        self._encoder: Any = msgspec.msgpack.Encoder() if is_packed else msgspec.json.Encoder()
        self._decoder: Any = msgspec.msgpack.Decoder(form) if is_packed else msgspec.json.Decoder(form)
        self._is_immutable: bool = is_immutable(form)

    def encode(self, value: Any) -> bytes:
        try:
            body: bytes = self._encoder.encode(value)
        except OverflowError as error:
            raise ValueError(f"MessagePack has no such number: {error}") from error
        return body

    def decode(self, body: bytes) -> Any:
        return self._decoder.decode(body)

    def is_immutable(self, value: object) -> bool:
        return self._is_immutable


class PackedCodec:
    """`Codec` that has the JSON of another one as MessagePack. Integers over 64 bits are not possible in it."""

    def __init__(self, inner: Codec[Any]) -> None:
        self.fingerprint: str = fingerprint("msgpack", inner.fingerprint)
        self._inner = inner

    def encode(self, value: Any) -> bytes:
        try:
            return msgspec.msgpack.encode(msgspec.json.decode(self._inner.encode(value)))
        except OverflowError as error:
            raise ValueError(f"MessagePack has no such number: {error}") from error

    def decode(self, body: bytes) -> Any:
        return self._inner.decode(msgspec.json.encode(msgspec.msgpack.decode(body)))

    def is_immutable(self, value: object) -> bool:
        return self._inner.is_immutable(value)


def _shape(part: Any, met: dict[int, int]) -> object:
    """What `type_info` says of a type, as tuples of texts. A type that refers to itself is told by a number.

    Raises TypeError for types that msgspec does not write itself, and for those that pydantic validates.
    """
    if isinstance(part, tuple):
        return tuple(_shape(one, met) for one in part)
    if isinstance(part, inspect.Type | inspect.Field):
        if id(part) in met:
            return met[id(part)]
        met[id(part)] = len(met)
        if isinstance(part, inspect.CustomType):
            raise TypeError(f"msgspec does not know {part.cls!r}")
        return type(part).__name__, *(_shape(getattr(part, name), met) for name in part.__struct_fields__)
    if isinstance(part, type) and issubclass(part, enum.Enum):
        return part.__name__, tuple(repr(one.value) for one in part)
    if hasattr(part, "__pydantic_validator__"):
        raise TypeError("pydantic validates it")
    if part is msgspec.NODEFAULT:
        return None
    told = getattr(part, "__qualname__", None) or repr(part)
    return type(part).__qualname__ if " at 0x" in told else told  # an address would differ in each process
