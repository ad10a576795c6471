"""Pieces of SQL."""

from __future__ import annotations

import re


def literal(text: str) -> str:
    """`text` as a constant, whatever is in it."""
    quoted = text.replace("'", "''")
    return f"E'{quoted.replace(chr(92), chr(92) * 2)}'" if "\\" in text else f"'{quoted}'"


def identifier(name: str) -> str:
    """`name` as it is stored, in quotes."""
    return '"' + name.replace('"', '""') + '"'


def dollars(body: str) -> str:
    """`body` between dollar quotes that it does not hold itself."""
    tag = "$body$"
    while tag in body:
        tag = re.sub(r"\$$", "_$", tag)
    return f"{tag}{body}{tag}"
