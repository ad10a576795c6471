"""The pattern of a key: the key with ids, dates, hosts and tokens folded, like `user:{id}:session`.

It is decided by the shape of one key alone. Names, like `user:alice`, take many keys to be told from words, see
`budget/core/learning.py`. Shapes that hold separators themselves (dates, addresses) are folded first, then what is left
between separators. A pattern holds only printable characters, and folds to itself.
"""

from __future__ import annotations

import ipaddress
import re
from itertools import pairwise

MAX_BYTES = 256
"""What is behind them does not count. Keys may have 512 MB."""

SEPARATORS = ":/|"
"""They divide a key into places. Within one, `.`, `-` and `_` divide words."""

BYTES = "{bytes}"

# A name that ends in one of these is a host. Words that stand last in keys, like .id, are left out.
_TOP_LEVEL = (
    "com|org|net|io|dev|app|co|ai|uk|de|fr|nl|eu|us|ca|au|jp|br|ch|it|es|se|pl|ru|cn|info|biz|xyz|cloud|site|shop|"
    "store|online|tech|page|example|test|local|localhost|internal"
)
_HOST = rf"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{{0,61}}[A-Za-z0-9])?\.)+(?:{_TOP_LEVEL})"
_DAY = r"(?:19|20)\d\d(?P<dash>-?)(?:0[1-9]|1[0-2])(?P=dash)(?:0[1-9]|[12]\d|3[01])"
_HOUR = r"(?:[01]\d|2[0-3])"
_SHAPES = re.compile(
    rf"""
    (?<![A-Za-z0-9])(?:
      (?P<uuid>[0-9a-f]{{8}}-[0-9a-f]{{4}}-[0-9a-f]{{4}}-[0-9a-f]{{4}}-[0-9a-f]{{12}})
    | (?P<email>[\w.+%-]+@{_HOST})
    | (?P<stamp>{_DAY}[T ]{_HOUR}:?[0-5]\d(?::?[0-5]\d(?:[.,]\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)
    | {_DAY.replace("dash", "dash2")}(?P<between>[:/|_T-]?){_HOUR}[0-5]\d(?:[0-5]\d)?
    | (?P<date>{_DAY.replace("dash", "dash3")})
    | (?P<ip>\d{{1,3}}(?:\.\d{{1,3}}){{3}}|[0-9a-f]{{1,4}}(?:::?[0-9a-f]{{1,4}}){{2,7}})
    | (?P<host>{_HOST})
    )(?![A-Za-z0-9])
    """,
    re.VERBOSE | re.IGNORECASE,
)
_DIGIT = re.compile(r"\d")
_PLACE = re.compile(rf"[^{SEPARATORS}]+")
_TOKEN = re.compile(r"(?<![A-Za-z0-9_+-])[A-Za-z0-9_+-]{16,}={0,2}(?![A-Za-z0-9_+=-])")
_WORD = re.compile(r"[A-Za-z0-9]+")
_HEX = re.compile(r"[0-9a-f]+|[0-9A-F]+")
_ULID = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}")
_NUMBERED = re.compile(r"([A-Za-z]{2,})\d{3,}")
_HASH_LENGTHS = frozenset({32, 40, 56, 64, 96, 128})
_UNIX_TIME = re.compile(r"1[5-9]\d{8}(?:\d{3}|\d{6})?")
_KEPT = re.compile(r"v\d{1,3}|sha(?:1|224|256|384|512)|md5|base(?:32|58|62|64)", re.IGNORECASE)


def fold(key: bytes) -> str:
    """The pattern of `key`. It holds no control characters, and "…" stands for what is behind `MAX_BYTES`."""
    text = key[:MAX_BYTES].decode("utf-8", "surrogateescape")
    if not text.isprintable():
        text = _PLACE.sub(_fold_unprintable, text)
    if len(key) > MAX_BYTES:
        text += "…"
    if _DIGIT.search(text) or "." in text:
        text = _SHAPES.sub(_fold_shape, text)
    text = _TOKEN.sub(_fold_token, text)
    return _WORD.sub(_fold_word, text)


def _fold_unprintable(place: re.Match[str]) -> str:
    return place[0] if place[0].isprintable() else BYTES


def _fold_shape(match: re.Match[str]) -> str:
    kind = match.lastgroup
    if match["between"] is not None:
        return f"{{date}}{match['between']}{{time}}" if match["between"] else "{date}"
    if match["stamp"] or match["date"]:
        return "{date}"
    if match["ip"]:
        return "{ip}" if _is_address(match["ip"]) else match[0]
    return f"{{{kind}}}"


def _is_address(text: str) -> bool:
    """Whether it is one that cannot be a row of short words or numbers: `1:2:3` is not."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return "." in text or "::" in text or any(len(group) > 2 for group in text.split(":"))


def _fold_token(match: re.Match[str]) -> str:
    """A base64 token changes between small and capital letters and digits far more often than words do."""
    text = match[0]
    letters = [_class_of(letter) for letter in text if letter not in "_+-="]
    changes = sum(one != other for one, other in pairwise(letters))
    return "{token}" if len(set(letters)) == 3 and changes >= 0.35 * len(letters) else text


def _class_of(letter: str) -> int:
    return 0 if letter.isdigit() else 1 if letter.islower() else 2


def _fold_word(match: re.Match[str]) -> str:
    word = match[0]
    if word.isdigit():
        return "{time}" if _UNIX_TIME.fullmatch(word) else "{id}"
    digits = sum(map(str.isdigit, word))
    if _HEX.fullmatch(word) and ((digits and len(word) >= 8) or len(word) in _HASH_LENGTHS):
        return "{hash}" if len(word) in _HASH_LENGTHS else "{hex}"
    if not digits or _KEPT.fullmatch(word):
        return word
    if _ULID.fullmatch(word):
        return "{ulid}"
    if numbered := _NUMBERED.fullmatch(word):
        return f"{numbered[1]}{{id}}"
    return "{token}" if _is_random(word) else word


def _is_random(word: str) -> bool:
    """Whether letters and digits take turns, as in `clh3k2j5k0000qz`, and not in `oauth2` and `i18n`."""
    kinds = [letter.isdigit() for letter in word]
    changes = sum(one != other for one, other in pairwise(kinds))
    return len(word) >= 6 and changes >= (2 if len(word) >= 10 else 3)
