"""The codec of what pydantic knows: models, dataclasses, TypedDict, NamedTuple, and lists or dicts of them."""

from __future__ import annotations

import re
import warnings
from typing import Any

from pydantic import BaseModel, ConfigDict, PydanticUserError, TypeAdapter, ValidationError
from pydantic.json_schema import PydanticJsonSchemaWarning
from pydantic_core import PydanticSerializationError

from tenantcache.values.core.shape import describe, fingerprint
from tenantcache.values.immutability import is_immutable

_EXPECTED = re.compile("Expected `([^`]*)`")


class PydanticCodec:
    """`Codec` that writes JSON. Fields go by their own names, whatever their aliases. Computed ones are left out."""

    def __init__(self, form: Any) -> None:
        """Raises `PydanticUserError` or NameError if pydantic does not know `form`."""
        self._adapter = _adapter(form)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PydanticJsonSchemaWarning)  # of defaults that JSON does not have
            schema = self._adapter.json_schema(by_alias=False)
        self.fingerprint: str = fingerprint("pydantic", describe(schema))
        self._form = form
        self._model: type[BaseModel] | None = form if isinstance(form, type) and issubclass(form, BaseModel) else None
        self._is_immutable: bool = is_immutable(form)

    def encode(self, value: Any) -> bytes:
        if self._model is not None and not isinstance(value, self._model):  # with from_attributes it would be written
            raise TypeError(_other_type(self._model, value))
        try:
            return self._adapter.dump_json(value, round_trip=True, by_alias=False, warnings="error")
        except PydanticSerializationError as error:
            raise TypeError(self._fault(value, str(error))) from None

    def decode(self, body: bytes) -> Any:
        try:
            return self._adapter.validate_json(body, by_alias=False, by_name=True)
        except ValidationError as error:
            faults = error.errors(include_url=False, include_context=False, include_input=False)
            raise ValueError("; ".join(f"{_place(fault['loc'])}{fault['msg']}" for fault in faults)) from None

    def is_immutable(self, value: object) -> bool:
        return self._is_immutable

    def _fault(self, value: object, told: str) -> str:
        """What is wrong with it, without what is in it."""
        form, given = self._form, type(value).__qualname__
        expected = ", ".join(dict.fromkeys(_EXPECTED.findall(told)))
        if "invalid utf-8" in told:
            told = "it has bytes that are not UTF-8; give its model ser_json_bytes and val_json_bytes 'base64'"
        why = f"a part of it is not of the type {expected}" if expected else told
        return f"the {given} cannot be written as JSON of type={form!r}: {why}"


def _adapter(form: Any) -> TypeAdapter[Any]:
    try:  # bytes need not be UTF-8; a model says that in its own configuration
        return TypeAdapter(form, config=ConfigDict(ser_json_bytes="base64", val_json_bytes="base64"))
    except PydanticUserError as error:
        if error.code != "type-adapter-config-unused":
            raise
        return TypeAdapter(form)


def _other_type(form: type[BaseModel], value: object) -> str:
    given, wanted = type(value).__qualname__, form.__name__
    return f"the value is of type {given}, not {wanted}; give {wanted}.model_validate(...) of it"


def _place(path: tuple[int | str, ...]) -> str:
    return f"{'.'.join(map(str, path))}: " if path else ""
