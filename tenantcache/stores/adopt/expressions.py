"""Pieces of SQL. `row` is what stands before the dot: a table's alias, or `old` and `new` in a trigger."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tenantcache.stores.adopt.catalog import Column
from tenantcache.stores.adopt.mapping import HostColumn


def canonical(row: str, host: HostColumn) -> str:
    """The name in lower case (of ASCII alone: that is what host names are made of), NULL where it is empty."""
    # A view's column cannot change its collation, so it goes back to the one that the owned table's has.
    return f"""nullif(lower({row}.{host.column.quoted}::text collate "C"), '') collate "default\""""


def id_of(row: str, key: Sequence[Column]) -> str:
    """The id, NULL where a part of the key is."""
    if len(key) == 1:
        return f"{row}.{key[0].quoted}::text"
    escaped = (f"replace(replace({row}.{part.quoted}::text, '%', '%25'), '/', '%2F')" for part in key)
    return " || '/' || ".join(escaped)


def is_set(row: str, flag: Column) -> str:
    """Whether a flag is true, or a column that says since when it is, is not NULL."""
    return f"{row}.{flag.quoted} is true" if flag.category == "B" else f"{row}.{flag.quoted} is not null"


def literal(text: str) -> str:
    """`text` as a constant, whatever is in it."""
    quoted = text.replace("'", "''")
    return f"E'{quoted.replace(chr(92), chr(92) * 2)}'" if "\\" in text else f"'{quoted}'"


def dollars(body: str) -> str:
    """`body` between dollar quotes that it does not hold itself."""
    tag = "$body$"
    while tag in body:
        tag = re.sub(r"\$$", "_$", tag)
    return f"{tag}{body}{tag}"
