"""Names of tenants that no Host line carries: those in a path or a header, and those within a kind.

Rules:

* A name is a text of 1 to 253 octets in UTF-8. Two names are the same if they are equal with A to Z as a to z. The
  database writes them so, and no other letter is mapped: `Größe` and `größe` are one name, `GRÖSSE` is another.
* No name has control characters, NUL, or halves of surrogate pairs.
* A kind has no colon. So `name:team:a:b` is the name `a:b` within `team`, and nothing else.
"""

from __future__ import annotations

import re

from tenantcache.lookup.core.alias import name_alias, subdomain_alias
from tenantcache.lookup.core.hosts import MAX_NAME_LENGTH

KIND_PATTERN = "[a-z0-9_-]{1,63}"
_KIND = re.compile(KIND_PATTERN)
_IN_NO_NAME = re.compile("[\\0-\\x1f\\x7f-\\x9f\ud800-\udfff]")
_ASCII_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}


def is_kind(text: str) -> bool:
    """Whether `text` can be the name of a kind. "" is not one: it stands for the tenants without a kind."""
    return _KIND.fullmatch(text) is not None


def fold(name: str) -> str | None:
    """Return `name` as the database writes it, or None if no tenant can have that name."""
    if not name or len(name) > MAX_NAME_LENGTH or _IN_NO_NAME.search(name) is not None:
        return None
    if name.isascii():
        return name.lower()
    return name.translate(_ASCII_LOWER) if len(name.encode("utf-8")) <= MAX_NAME_LENGTH else None


def alias_of_label(name: str) -> str | None:
    """The alias of a subdomain, even of one that a host cannot carry; None if no tenant can have it."""
    folded = fold(name)
    return None if folded is None else subdomain_alias(folded)


def alias_of_name(name: str, kind: str) -> str | None:
    """The alias of a name within a kind, "" for tenants without one; None if no tenant can have it."""
    folded = fold(name)
    return None if folded is None or (kind and not is_kind(kind)) else name_alias(kind, folded)
