"""How strategies are written in one line: `path:/t:id,kind=team,keep, header:x-tenant, host`.

Commas stand between strategies, and before each option of one. They cannot be confused: an option is a single word, or
a word, "=" and a value. Of the strategies only `host` is a single word, and that is not an option.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

_OPTION = re.compile(r"(?!host\Z)[a-z_]+(?:\Z|=)")


class StrategyText(NamedTuple):
    """`what`: host, path or header. `name`: the prefix or the header. `by`: what names are, "" if it is not said."""

    what: str
    name: str
    by: str
    options: Mapping[str, str]


def split_strategies(value: Any) -> Any:
    """The strategies in a text, each with its options; anything else is returned as it is."""
    if not isinstance(value, str):
        return value
    found: list[str] = []
    for part in filter(None, map(str.strip, value.split(","))):
        if found and _OPTION.match(part):
            found[-1] += "," + part
        else:
            found.append(part)
    return found


def read_strategy(text: str) -> StrategyText:
    """The parts of one strategy, which may make no sense. The value of an option without "=" is ""."""
    head, *options = map(str.strip, text.split(","))
    what, _, rest = head.partition(":")
    name, _, by = rest.partition(":")
    pairs = (option.partition("=") for option in options)
    return StrategyText(what, name, by, {key.strip(): value.strip() for key, _, value in pairs})
