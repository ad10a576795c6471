"""Members of a set: texts. A whole number or a UUID is the text that it is written as, so 42 and "42" are one member.

Otherwise a loader that gives numbers and a caller that asks with a text would never meet, and who is blocked would be
let through.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Final
from uuid import UUID

Member = str | int | UUID

MAX_MEMBERS: Final = 50_000
"""Each change has all processes load the whole set again: some 0.1 s of a core for so many."""

MEMBER_BYTES: Final = 100
"""What a member takes in memory beside its text, about: a text, and its share of a table that is half full."""


def text_of(member: Member) -> str:
    """Raises TypeError."""
    if isinstance(member, str):
        return member
    if isinstance(member, (int, UUID)) and not isinstance(member, bool):
        return str(member)
    raise TypeError(f"{member!r:.80} cannot be a member; members are texts, whole numbers and UUIDs")


def members_of(given: Iterable[Member]) -> set[str]:
    """What a loader has given. Raises TypeError for what cannot be a member, and ValueError for too many of them."""
    if isinstance(given, str):
        raise TypeError(f"{given!r:.80} is one text; a loader of members gives a list of them, or a set")
    texts = {text_of(member) for member in given}
    if len(texts) > MAX_MEMBERS:
        raise ValueError(
            f"{len(texts)} members are too many for one set, at most {MAX_MEMBERS}: ask for each of them as a value of"
            " its own, as in get_or_load(f'blocked:{user_id}', ...)"
        )
    return texts


class MembersCodec:
    """`Codec` of sets of texts: a JSON list, in order. What it decodes belongs to memory alone, so that it can be
    corrected there."""

    fingerprint = "members"

    def encode(self, value: set[str]) -> bytes:
        return json.dumps(sorted(value), separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")

    def decode(self, body: bytes) -> set[str]:
        texts = json.loads(body)
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise ValueError("that is not a list of texts")
        return set(texts)

    def is_immutable(self, value: object) -> bool:
        return True


def bytes_beside_text(value: object) -> int:
    """What members take in memory beside their stored form; 0 for any other value."""
    return MEMBER_BYTES * len(value) if isinstance(value, set) else 0
