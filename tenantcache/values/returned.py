"""The type of what a function returns, by its annotation."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable
from typing import Any

from tenantcache.values.typeparts import without_none


class UnresolvedTypeError(TypeError):
    """A type has a name that is not defined yet, or cannot be found from where it stands."""


def returned_form(function: Callable[..., Any]) -> object:
    """None if nothing is said. Raises TypeError, `UnresolvedTypeError` among others."""
    name = function.__qualname__
    try:
        form = _return_hint(function)
    except NameError as error:
        raise UnresolvedTypeError(
            f"the return annotation of {name}() cannot be resolved: {error}; import or define that at run time, outside"
            " of a function, or give type="
        ) from error
    if form is inspect.Signature.empty:
        return None
    found = without_none(form)
    if found is types.NoneType:
        raise TypeError(f"{name}() returns None by its annotation, so there is nothing to keep")
    return found


def _return_hint(function: Callable[..., Any]) -> object:
    annotations = function.__annotations__
    if "return" not in annotations:
        return inspect.Signature.empty
    holder = types.SimpleNamespace(__annotations__={"return": annotations["return"]})
    hints = typing.get_type_hints(holder, function.__globals__, _enclosing(function), include_extras=True)
    return hints["return"]


def _enclosing(function: Callable[..., Any]) -> dict[str, object]:
    """The variables of the functions around it that its code uses, as far as they have a value."""
    found = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            found[name] = cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    return found
