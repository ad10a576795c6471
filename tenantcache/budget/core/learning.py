"""Tells names from words: `user:alice` and `user:bob` are one pattern, `tenant:settings` and `tenant:profile` are two.

The rules, over the patterns of many keys (`budget/core/patterns.py`), place by place from the left:

1. More than `MOST_WORDS` words in one place that are followed by the same are names, and fold to `{name}`. Words that
   are followed by different things are namespaces, and stay however many they are. Keys begin with a namespace, so
   there it takes more than `MOST_NAMESPACES`.
2. `user7` is a numbered word if `user{id}` stands in the same place, or if more than `MOST_WORDS` are numbered like it.
3. A few ids in a place look like something else: a token without digits like a word, one of hex digits like a hash. A
   kind that is `DOMINANT` times rarer than another kind in the same place, followed by the same, is that other kind.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from tenantcache.budget.core.patterns import SEPARATORS

MOST_WORDS = 20
"""Words in one place, more than most sets of fields, tables, months or queues have."""

MOST_NAMESPACES = 200
"""Words that keys begin with, more than the namespaces of most applications."""

DOMINANT = 10
NAME = "{name}"

_PIECE = re.compile(rf"[{SEPARATORS}]|[^{SEPARATORS}]+")
_PIECE_OF_FLAT = re.compile(r"[._-]|[^._-]+")
_RANDOM = re.compile(r"\{(?:id|hex|hash|token|ulid|name|time)\}")
_NUMBERED = re.compile(r"(.*[A-Za-z])\d{1,2}")


@dataclass(slots=True)
class _Place:
    """What may stand behind a beginning of keys: the pieces, and `new` for those that are called otherwise."""

    keys: int = 0
    next: dict[str, _Place] = field(default_factory=dict)
    new: dict[str, str] = field(default_factory=dict)

    def join(self, other: _Place) -> None:
        self.keys += other.keys
        for piece, place in other.next.items():
            self.next.setdefault(piece, _Place()).join(place)

    def fold(self, pieces: Iterable[str], into: str) -> None:
        """Call all `pieces` `into`."""
        for piece in pieces:
            if piece != into:
                self.new[piece] = into
                self.next.setdefault(into, _Place()).join(self.next.pop(piece))

    def call(self, piece: str) -> str:
        """What a piece is called, also one that was not seen."""
        seen = piece in self.new or piece in self.next
        if not seen and (NAME in self.new or NAME in self.next) and _is_word(piece):
            piece = NAME
        while piece in self.new:  # names may be called ids
            piece = self.new[piece]
        return piece


class Folding:
    """What was learned. It folds patterns that were not among those learned from, too."""

    def __init__(self, root: _Place) -> None:
        self._root = root

    def fold(self, pattern: str) -> str:
        place: _Place | None = self._root
        found = []
        for piece in _split(pattern):
            called = piece if place is None else place.call(piece)
            place = None if place is None else place.next.get(called)
            found.append(called)
        return "".join(found)


def learn(patterns: Mapping[str, int]) -> Folding:
    """Learn from patterns, and how many keys each has."""
    root = _Place()
    for pattern, keys in patterns.items():
        place = root
        for piece in _split(pattern):
            place = place.next.setdefault(piece, _Place())
            place.keys += keys
    _learn_place(root, most=MOST_NAMESPACES)
    return Folding(root)


def _split(pattern: str) -> list[str]:
    pieces = _PIECE.findall(pattern)
    return pieces if len(pieces) > 1 else _PIECE_OF_FLAT.findall(pattern)


def _is_word(piece: str) -> bool:
    return "{" not in piece and piece[0] not in SEPARATORS + "._-"


def _learn_place(place: _Place, most: int = MOST_WORDS) -> None:
    """`most` is for words that something follows."""
    _fold_numbered(place)
    for alike in _group_alike(place):
        words = [piece for piece in alike if _is_word(piece)]
        if len(words) > (most if any(place.next[word].next for word in words) else MOST_WORDS):
            place.fold(words, NAME)
        _fold_rare(place, [piece for piece in [*alike, NAME] if piece in place.next])
    for following in place.next.values():
        _learn_place(following)


def _fold_numbered(place: _Place) -> None:
    stems: dict[str, list[str]] = {}
    for piece in place.next:
        if _is_word(piece) and (numbered := _NUMBERED.fullmatch(piece)):
            stems.setdefault(numbered[1], []).append(piece)
    for stem, pieces in stems.items():
        if f"{stem}{{id}}" in place.next or len(pieces) > MOST_WORDS:
            place.fold(pieces, f"{stem}{{id}}")


def _group_alike(place: _Place) -> list[list[str]]:
    """Groups of pieces that are followed by much the same, as far as two pieces behind."""
    groups: list[tuple[frozenset[str], list[str]]] = []
    by_following: dict[frozenset[str], list[str]] = {}
    for piece, following in place.next.items():
        by_following.setdefault(_following(following), []).append(piece)
    for following_pieces, pieces in sorted(by_following.items(), key=lambda item: (-len(item[0]), -len(item[1]))):
        for number, (known, members) in enumerate(groups):
            if _are_alike(known, following_pieces):
                groups[number] = (known | following_pieces, [*members, *pieces])
                break
        else:
            groups.append((following_pieces, list(pieces)))
    return [members for _, members in groups]


def _following(place: _Place) -> frozenset[str]:
    """The next two pieces, a separator and what is behind it; random ones count as the same."""
    return frozenset(
        one + _RANDOM.sub("{}", two) for one, behind in place.next.items() for two in (behind.next or ("",))
    )


def _are_alike(known: frozenset[str], other: frozenset[str]) -> bool:
    if not known or not other:
        return known == other
    return 2 * len(known & other) >= min(len(known), len(other))


def _fold_rare(place: _Place, alike: list[str]) -> None:
    """Rule 3, over pieces that differ only in the kind of what is random in them."""
    kinds: dict[str, list[str]] = {}
    for piece in alike:
        if _RANDOM.search(piece):
            kinds.setdefault(_RANDOM.sub("{}", piece), []).append(piece)
    for pieces in kinds.values():
        main = max(pieces, key=lambda piece: place.next[piece].keys)
        place.fold([piece for piece in pieces if DOMINANT * place.next[piece].keys <= place.next[main].keys], main)
