"""Keys as text that can be shown: a key may hold any bytes, among them those that steer a terminal."""

from __future__ import annotations

MAX_SHOWN = 120
"""Characters of a key; "…" stands for what follows them."""


def visible(text: str) -> str:
    """`text` with every character that is not printable as an escape, like `\\x1b` or `\\u202e`."""
    return text if text.isprintable() else "".join(map(_visible_character, text))


def _visible_character(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode("ascii")


def show_key(key: bytes, most: int = MAX_SHOWN) -> str:
    """A key as printable text. What is not printable is written as in a Python literal: `\\x1b`."""
    text = key[: 4 * most].decode("utf-8", "backslashreplace")
    shown = visible(text)
    return shown if len(shown) <= most and len(key) <= 4 * most else f"{shown[:most]}…"
