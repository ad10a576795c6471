"""The codec of each type that an application gives as `type=`. Pickle is not among the forms: who can write into Redis
could then run code here.

What pydantic knows is written and validated by it: models, dataclasses, TypedDict, NamedTuple, and lists or dicts of
them. The stored form is JSON; or MessagePack of that JSON by msgspec, which is smaller and takes longer.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

from pydantic import PydanticUserError, TypeAdapter
from pydantic_core import PydanticSerializationError

from tenantcache.values.core.codec import Codec, JsonCodec
from tenantcache.values.core.shape import describe, fingerprint, has_secret
from tenantcache.values.immutability import is_immutable

MAX_CODECS: Final = 1_000
"""Types with a codec at a time. Past it they are made again, so that types which are made for a request do not stay."""


class ModelCodec:
    """`Codec` of what pydantic knows. Fields go by their own names, whatever aliases they have."""

    def __init__(self, kind: Any) -> None:
        """Raises TypeError, and `PydanticUserError` or NameError if pydantic does not know `kind`."""
        adapter: TypeAdapter[Any] = TypeAdapter(kind)
        schema = adapter.json_schema(by_alias=False)
        if has_secret(schema):
            raise TypeError(f"type={kind!r} has a secret, which is not for Redis; leave that field out of the value")
        self.fingerprint: str = fingerprint("pydantic", describe(schema))
        self._adapter = adapter
        self._is_immutable: bool = is_immutable(kind)

    def encode(self, value: Any) -> bytes:
        try:
            return self._adapter.dump_json(value, round_trip=True, by_alias=False, warnings="error")
        except PydanticSerializationError as error:
            raise TypeError(f"{type(value).__qualname__} is not of the type= that was given: {error}") from error

    def decode(self, body: bytes) -> Any:
        return self._adapter.validate_json(body, by_alias=False, by_name=True)

    def is_immutable(self, value: object) -> bool:
        return self._is_immutable


class PackedCodec:
    """`Codec` that has the JSON of another one as MessagePack. Integers over 64 bits are not possible in it."""

    def __init__(self, inner: Codec[Any]) -> None:
        """Raises ImportError without msgspec."""
        import msgspec

        self.fingerprint: str = fingerprint("msgpack", inner.fingerprint)
        self._inner = inner
        self._pack: Callable[[Any], bytes] = msgspec.msgpack.encode
        self._unpack: Callable[[bytes], Any] = msgspec.msgpack.decode
        self._fault = msgspec.MsgspecError

    def encode(self, value: Any) -> bytes:
        try:
            return self._pack(json.loads(self._inner.encode(value)))
        except OverflowError as error:
            raise ValueError(f"MessagePack has no such number: {error}") from error

    def decode(self, body: bytes) -> Any:
        try:
            unpacked = self._unpack(body)
        except self._fault as error:
            raise ValueError(str(error)) from error
        return self._inner.decode(json.dumps(unpacked).encode("ascii"))

    def is_immutable(self, value: object) -> bool:
        return self._inner.is_immutable(value)


class Codecs:
    """One codec for each type, made when it is first asked for."""

    def __init__(self, *, is_packed: bool = False) -> None:
        """Raises ImportError if MessagePack is wanted without msgspec."""
        self._is_packed = is_packed
        self._made: dict[object, Codec[Any]] = {None: self._wrap(JsonCodec())}

    def of(self, kind: object) -> Codec[Any]:
        """None: plain JSON. Raises TypeError if values of that type cannot be written and read back."""
        codec = self._made.get(kind)
        if codec is None:
            if len(self._made) >= MAX_CODECS:
                self._made = {None: self._made[None]}
            codec = self._made[kind] = self._wrap(_make(kind))
        return codec

    def _wrap(self, codec: Codec[Any]) -> Codec[Any]:
        return PackedCodec(codec) if self._is_packed else codec


def _make(kind: Any) -> Codec[Any]:
    try:
        return ModelCodec(kind)
    except (PydanticUserError, NameError) as error:
        raise TypeError(f"type={kind!r} cannot be written as JSON and read back: {error}") from error
