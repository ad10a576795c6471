"""Keys as text that can be shown: a key may hold any bytes, among them those that steer a terminal."""

from __future__ import annotations

MAX_SHOWN = 120
"""Characters of a key; "…" stands for what follows them."""


def show_key(key: bytes, most: int = MAX_SHOWN) -> str:
    """A key as printable text. What is not printable is written as in a Python literal: `\\x1b`."""
    text = key[: 4 * most].decode("utf-8", "backslashreplace")
    shown = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
    return shown if len(shown) <= most and len(key) <= 4 * most else f"{shown[:most]}…"
