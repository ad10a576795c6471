"""The patterns of Redis' MATCH, and which of them must not be removed by.

The grammar is that of `stringmatchlen` in Redis' util.c: `*`, `?`, `[abc]`, `[^abc]`, `[a-z]`, and `\\` before a letter
that is meant literally.
"""

from __future__ import annotations

import re

_CLASS = rb"(?:\\.|[^\]]-.|[^\]])*"
_PIECES = re.compile(
    rb"\\(?P<escaped>.)|\[(?P<negated>\^?)(?P<class>" + _CLASS + rb")\]?|(?P<star>\*+)|(?P<one>\?)", re.DOTALL
)
_MEMBER = re.compile(rb"\\(?P<escaped>.)|(?P<first>.)-(?P<last>.)|(?P<only>.)", re.DOTALL)


def compile_glob(pattern: bytes) -> re.Pattern[bytes]:
    """A regular expression whose `fullmatch` is what MATCH does."""
    parts, end = [], 0
    for piece in _PIECES.finditer(pattern):
        parts.append(re.escape(pattern[end : piece.start()]))
        parts.append(_translate(piece))
        end = piece.end()
    parts.append(re.escape(pattern[end:]))
    return re.compile(b"".join(parts), re.DOTALL)


def _translate(piece: re.Match[bytes]) -> bytes:
    if piece["escaped"] is not None:
        return re.escape(piece["escaped"])
    if piece["star"] is not None:
        return b".*"
    if piece["one"] is not None:
        return b"."
    members = b"".join(map(_translate_member, _MEMBER.finditer(piece["class"])))
    if not members:
        return b"." if piece["negated"] else b"(?!)"
    return b"[" + piece["negated"] + members + b"]"


def _translate_member(member: re.Match[bytes]) -> bytes:
    if member["first"] is None:
        return re.escape(member["escaped"] or member["only"])
    low, high = sorted((member["first"], member["last"]))
    return re.escape(low) + b"-" + re.escape(high)


def names_something(pattern: bytes) -> bool:
    """Whether it holds a letter or digit that a key must have: `*`, `?*`, `*:*` and `[a-z]*` do not."""
    literal = _PIECES.sub(lambda piece: piece["escaped"] or b"", pattern)
    return re.search(rb"[A-Za-z0-9\x80-\xff]", literal) is not None
