"""What a call of a function says of its value: the key, the tags and the tenant."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from tenantcache.values.core.keytemplate import BoundTemplate, KeyTemplate
from tenantcache.values.core.terms import Tags

TENANT: Final = "tenant"
"""The parameter that says which tenant a call is about, if nothing else is said."""

_EITHER = inspect.Parameter.POSITIONAL_OR_KEYWORD
_VARIABLE = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


class CallTags:
    """The tags of a call, which a hit does not need: they are made when they are read."""

    __slots__ = ("_arguments", "_templates")

    def __init__(self, templates: Sequence[BoundTemplate], arguments: Sequence[object]) -> None:
        self._templates, self._arguments = templates, arguments

    def __iter__(self) -> Iterator[str]:
        return (template.tag(self._arguments) for template in self._templates)


class CallKey:
    """Reads arguments by the signature of `function`. Every parameter is in the key, is the tenant, or is ignored, so
    that no two calls are given one value by mistake. `self` and `cls` are ignored unless the key names them."""

    def __init__(
        self, function: Callable[..., Any], key: str, *, tags: Tags, ignore: Collection[str], tenant: str | None
    ) -> None:
        """Raises TypeError and ValueError, with what would be right."""
        self._name: str = function.__qualname__
        self._signature = inspect.signature(function)
        parameters = self._signature.parameters
        self._places: dict[str, int] = {name: place for place, name in enumerate(parameters)}
        kinds = [one.kind for one in parameters.values()]
        self._positional: int = kinds.count(_EITHER) if set(kinds) <= {_EITHER, inspect.Parameter.KEYWORD_ONLY} else -1
        self._given: list[object] = [one.default for one in parameters.values()]
        self._required = frozenset(at for at, given in enumerate(self._given) if given is inspect.Parameter.empty)
        self._missing = [sum(at >= count for at in self._required) for count in range(len(kinds) + 1)]
        self.template: KeyTemplate = KeyTemplate(key)
        self.key: Callable[[Sequence[object]], str] = self._bind(self.template, "the key").key
        if tenant is not None and tenant not in parameters and tenant != TENANT:
            self._find([tenant], "tenant=")
        self._tenant = None if tenant is None else self._places.get(tenant)
        self._tags: list[BoundTemplate] | Tags = tags if callable(tags) else self._read_tags(tags) or ()
        self._check_ignored(ignore, tenant)

    def arguments(self, args: Sequence[object], kwargs: Mapping[str, object], *, is_whole: bool) -> Sequence[object]:
        """Those of a call, in the order of the parameters; `is_whole`: none may be missing. Raises TypeError."""
        count = len(args)
        if count <= self._positional:  # what `Signature.bind` finds, in a tenth of its time
            missing = self._missing[count]
            if not kwargs and not missing:
                return args if count == len(self._given) else (*args, *self._given[count:])
            found = [*args, *self._given[count:]]
            for name, given in kwargs.items():
                place = self._places.get(name, -1)
                if place < count:  # it is not a parameter, or is given twice
                    break
                found[place] = given
                missing -= place in self._required
            else:
                if not missing:
                    return found
        return self._bind_slowly(args, kwargs, is_whole=is_whole)

    def _bind_slowly(self, args: Sequence[object], kwargs: Mapping[str, object], *, is_whole: bool) -> Sequence[object]:
        bind = self._signature.bind if is_whole else self._signature.bind_partial
        bound = bind(*args, **kwargs)
        bound.apply_defaults()
        missing = [name for name in self.template.names if name not in bound.arguments]
        if missing:
            raise TypeError(f"{self._name}() needs {' and '.join(missing)} to know which value is meant")
        return [bound.arguments.get(name) for name in self._places]

    def tags(self, arguments: Sequence[object]) -> Tags:
        return CallTags(self._tags, arguments) if isinstance(self._tags, list) else self._tags

    def tenant(self, arguments: Sequence[object]) -> Any:
        """What the call names; None: the current tenant counts."""
        return None if self._tenant is None else arguments[self._tenant]

    def _read_tags(self, tags: Iterable[str]) -> list[BoundTemplate]:
        if isinstance(tags, str):
            raise TypeError(f"tags={tags!r} is one text; give a list of tags")
        templates = [KeyTemplate(tag) for tag in tags]
        return [self._bind(template, f"the tag {template.text!r}") for template in templates]

    def _bind(self, template: KeyTemplate, what: str) -> BoundTemplate:
        return BoundTemplate(template, self._find(template.names, what))

    def _find(self, names: Sequence[str], what: str) -> list[int]:
        for name in names:
            if name not in self._places:
                close = difflib.get_close_matches(name, self._places, n=1)
                known = ", ".join(self._places) or "none"
                hint = f"did you mean {close[0]}?" if close else f"its parameters are {known}"
                raise TypeError(f"{what} names {name}, which {self._name}() does not have; {hint}")
        return [self._places[name] for name in names]

    def _check_ignored(self, ignore: Collection[str], tenant: str | None) -> None:
        if isinstance(ignore, str):
            raise TypeError(f"ignore={ignore!r} is one text; give a list of parameters")
        self._find(list(ignore), "ignore=")
        told = {*self.template.names, *ignore, tenant, _receiver(self._name, self._places)}
        for name, parameter in self._signature.parameters.items():
            if name in told and (parameter.kind not in _VARIABLE or name in ignore):
                continue
            if parameter.kind in _VARIABLE:
                raise TypeError(
                    f"{self._name}() takes any arguments, as {parameter}, which a key cannot name; ignore={[name]!r}"
                    " leaves them out"
                )
            raise TypeError(
                f"{self._name}() has the parameter {name}, which the key {self.template.text!r} does not name, so"
                f" calls that differ in it would be given one value; add {{{name}}} to the key, or ignore={[name]!r}"
            )


def _receiver(name: str, parameters: Collection[str]) -> str | None:
    """`self` or `cls` of a function that is defined in a class."""
    first = next(iter(parameters), None)
    is_method = name.rpartition(".")[0].rpartition(".")[2] not in ("", "<locals>")
    return first if is_method and first in ("self", "cls") else None
