"""The codec of each type that an application gives as `type=`.

The stored form is JSON, or MessagePack. Pickle is not among the forms: who can write into Redis could then run code
here. msgspec writes what it knows, if it is installed, and pydantic the rest. Their fingerprints differ, so processes
with msgspec and without it do not read each other's values.
"""

from __future__ import annotations

import json
import logging
import types
import typing
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, Final
from weakref import WeakValueDictionary

from pydantic import PydanticUserError, Secret, SecretBytes, SecretStr

from tenantcache.values.core.codec import Codec, JsonCodec
from tenantcache.values.core.shape import fingerprint
from tenantcache.values.pydanticcodec import PydanticCodec
from tenantcache.values.returned import UnresolvedTypeError
from tenantcache.values.typeparts import UNIONS, parts, without_none

logger = logging.getLogger(__name__)

MAX_CODECS: Final = 1_000
"""Types with a codec at a time. Past it they are made again, so that types which are made for a request do not stay."""

_SECRETS = (SecretStr, SecretBytes, Secret)


class Codecs:
    """One codec for each type, made when it is first asked for. `is_packed`: as MessagePack, which needs msgspec."""

    def __init__(self, *, is_packed: bool = False) -> None:
        """Raises ImportError if MessagePack is wanted without msgspec."""
        self._is_packed = is_packed
        self._has_msgspec: bool = is_packed or find_spec("msgspec") is not None
        self._made: dict[object, Codec[Any]] = {}
        self._local: WeakValueDictionary[str, type] = WeakValueDictionary()
        self._plain: Codec[Any] = self._pack(JsonCodec(loads=self._reader()))

    def of(self, form: object) -> Codec[Any]:
        """None: plain JSON. Raises TypeError if values of that type cannot be written and read back."""
        if form is None:
            return self._plain
        codec = self._made.get(form)
        if codec is None:
            if len(self._made) >= MAX_CODECS:
                self._made.clear()
            codec = self._made[form] = self._make(without_none(form))
        return codec

    def _make(self, form: Any) -> Codec[Any]:
        try:
            _check(form)
        except NameError as error:
            raise UnresolvedTypeError(f"type={form!r} has an annotation that cannot be resolved: {error}") from error
        self._report_local(form)
        if _is_plain(form):
            return self._pack(JsonCodec(fingerprint("json", repr(form)), self._reader()))
        if self._has_msgspec:
            from tenantcache.values.msgspeccodec import MsgspecCodec

            try:
                return MsgspecCodec(form, is_packed=self._is_packed)
            except (TypeError, NameError):
                pass  # it is for pydantic, which says what is wrong with it otherwise
        try:
            return self._pack(PydanticCodec(form))
        except (PydanticUserError, NameError) as error:
            why = str(error).partition("\n")[0]
            is_unknown = isinstance(error, NameError) or error.code == "class-not-fully-defined"
            raise (UnresolvedTypeError if is_unknown else TypeError)(
                f"type={form!r} cannot be written as JSON and read back: {why} Give a pydantic model, a dataclass, a"
                " TypedDict, or types that JSON has"
            ) from error

    def _pack(self, codec: Codec[Any]) -> Codec[Any]:
        if not self._is_packed:
            return codec
        from tenantcache.values.msgspeccodec import PackedCodec

        return PackedCodec(codec)

    def _reader(self) -> Callable[[bytes], Any]:
        if not self._has_msgspec:
            return json.loads
        import msgspec

        return msgspec.json.decode

    def _report_local(self, form: Any) -> None:
        """A class that is made for each call is another type each time, so that no value of it is found in memory."""
        for part in parts(form):
            name = f"{getattr(part, '__module__', '')}.{getattr(part, '__qualname__', '')}"
            if "<locals>" not in name or not isinstance(part, type):
                continue
            if self._local.setdefault(name, part) is not part:
                logger.warning("%s is made anew with each call: values of it are never found in memory", name)


def _check(form: Any) -> None:
    """Raises TypeError for what must not be stored, or is not a type that is known whole."""
    for part in parts(form):
        if isinstance(part, str | typing.ForwardRef):
            raise TypeError(f"type={form!r} has the name {part!r} in place of a type; give the type itself")
        if isinstance(part, typing.TypeVar):
            raise TypeError(f"type={form!r} has the type variable {part}; give the type that it stands for")
        if isinstance(part, type) and issubclass(part, _SECRETS):
            raise TypeError(f"type={form!r} has a secret, which is not for Redis; leave that field out of the value")


def _is_plain(form: object) -> bool:
    """Whether it says no more than that it is JSON."""
    if form in (Any, object, dict, list):
        return True
    origin, arguments = typing.get_origin(form), typing.get_args(form)
    if origin is dict:
        return arguments[0] is str and _is_plain(arguments[1])
    if origin in UNIONS:
        return all(part is types.NoneType or _is_plain(part) for part in arguments)
    return origin is list and _is_plain(arguments[0])
