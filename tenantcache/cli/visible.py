"""Text of other people's on a terminal: what would move the cursor, turn the line around or hide is an escape."""

from __future__ import annotations

import json
import re
from typing import Any

from rich.text import Text

from tenantcache.budget.core.keytext import visible

__all__ = ["cell", "to_json", "visible"]

_MAX_BMP = 0xFFFF


def cell(value: object) -> Text:
    """A value for a table or a line: never markup; nothing for None."""
    return Text("" if value is None else visible(str(value)))


def to_json(document: Any) -> str:
    """`document` as JSON for a terminal or a program, with readable letters and everything else as an escape."""
    return _NOT_PRINTABLE.sub(_json_escape, json.dumps(document, indent=2, ensure_ascii=False))


_NOT_PRINTABLE = re.compile(r"[^\x20-\x7e\n]")
"""Candidates: in a JSON document these stand in texts alone."""


def _json_escape(match: re.Match[str]) -> str:
    character = match[0]
    if character.isprintable():
        return character
    code = ord(character)
    if code <= _MAX_BMP:
        return f"\\u{code:04x}"
    high, low = divmod(code - 0x10000, 0x400)
    return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"
