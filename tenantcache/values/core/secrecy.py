"""Whether a value or a key holds a secret, told by names and shapes. What is returned never holds any of it.

A value lies in every process that asks for it, and in Redis, where a person can read it. Names count only if a text is
under them: `has_password: true` and `tokens_left: 5` are not secrets, nor is what has been masked.

The names are those of OWASP's Logging Cheat Sheet ("data to exclude"), the shapes those of GitHub's secret scanning.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, Final

from tenantcache.budget.core.patterns import fold

MOST_LOOKED_AT: Final = 200
"""Parts of a value that are looked at. What lies behind them does not count: looking costs less than encoding."""

SEARCHED: Final = 8_192
"""Bytes of its stored form that are searched before, for the same reason."""

NAMES: Final = (
    "password", "passwd", "passphrase", "password hash", "secret", "token", "api key", "apikey", "private key",
    "secret key", "access key", "encryption key", "signing key", "card number", "cvv", "cvc",
)  # fmt: skip
"""How the name of a secret ends, in words: `accessToken` and `stripe_api_key` do."""

HARMLESS: Final = frozenset({
    "page token", "next token", "previous token", "prev token", "continuation token", "sync token", "resume token",
    "cursor token", "pagination token", "color token", "colour token", "design token", "csrf token", "xsrf token",
})  # fmt: skip
"""Ends of names that are like those, of what is not secret: a position in a list, or what the page itself shows."""

WRAPPED: Final = "a field that is declared secret"

_HINT = re.compile(r"pass|secret|token|key|card|cv[vc]", re.IGNORECASE)
_TEXTS = frozenset({str, bytes})
_PLAIN = frozenset({int, float, bool, type(None)})
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_JWT = r"(?P<jwt>eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,})"
_ISSUED = (
    r"(?P<issued>(?:sk|rk)_(?:live|test)_\w{16,}|gh[pousr]_\w{30,}|github_pat_\w{30,}|glpat-[\w-]{20,}"
    r"|xox[abprs]-[\w-]{20,}|whsec_[\w+/=]{20,}|sk-[\w-]{32,}|Bearer[ +][\w.-]{16,})"
)
_NAMED = r"(?:token|api[_-]?key|password|passwd|secret)[:/|=](?P<named>[\w+/=-]{16,})"
_IN_KEY = re.compile(rf"(?<![A-Za-z0-9])(?:{_JWT}|{_ISSUED}|{_NAMED})")
_SHORTEST_IN_KEY = 20
_JSON_FIELD = re.compile(r'"([^"\\]{1,60})":\s*"([^"\\]{0,200})')
_TOLD = {"jwt": "a JWT", "issued": "an access token", "named": "a token"}
_MASKED = re.compile(r"(?:[*•xX.\s-]+\d{0,4})?")


def may_hold_secret(body: bytes) -> bool:
    """Whether to look into a value whose stored form this is: most have none of these letters."""
    text = body[:SEARCHED].lower()
    return (
        b"pass" in text
        or b"token" in text
        or b"secret" in text
        or b"key" in text
        or b"card" in text
        or b"cvv" in text
        or b"cvc" in text
    )


def secret_in_value(value: object) -> str | None:
    """What secret `value` holds, like "password", by the names of its fields; None if it seems to hold none.

    It may be made of dicts and lists, dataclasses, pydantic's models and msgspec's structs.
    """
    waiting, left = [value], MOST_LOOKED_AT
    for content in waiting:
        if hasattr(type(content), "get_secret_value"):  # pydantic's SecretStr and its kin
            return WRAPPED
        for name, part in islice(_parts(content), left):
            left -= 1
            if type(part) in _TEXTS:
                if _HINT.search(name) and _is_meant(part) and (found := secret_name(name)):
                    return found
            elif type(part) not in _PLAIN:
                waiting.append(part)
    return None


def secret_name(name: str) -> str | None:
    """The end of `name` that says so, as `NAMES` has it."""
    words = " ".join(_WORD.findall(name)).lower()
    if any(_ends(words, harmless) for harmless in HARMLESS):
        return None
    return max((one for one in NAMES if _ends(words, one)), key=len, default=None)


def _ends(words: str, end: str) -> bool:
    return words == end or words.endswith(f" {end}")


def _is_meant(content: str | bytes) -> bool:
    text = content.decode("latin-1") if isinstance(content, bytes) else content[:100]
    return _MASKED.fullmatch(text) is None


def _parts(content: object) -> Iterable[tuple[str, Any]]:
    """What it is made of, each with its name; the parts of a list have none."""
    if isinstance(content, dict):
        return ((key if isinstance(key, str) else "", part) for key, part in content.items())
    names = _names_of(type(content))
    if not names and isinstance(content, list | tuple | set | frozenset):
        return (("", part) for part in content)
    return ((name, getattr(content, name, None)) for name in names)


def _names_of(kind: type) -> Sequence[str]:
    """The fields that a class declares: a dataclass, pydantic's model, msgspec's struct or a named tuple."""
    for attribute in ("__dataclass_fields__", "model_fields", "__struct_fields__", "_fields"):
        names = getattr(kind, attribute, None)
        if isinstance(names, Mapping | tuple):
            return tuple(names)
    return ()


def secret_in_key(key: str) -> str | None:
    """What kind of secret `key` holds, like "a JWT"; None if it seems to hold none.

    Ids and hashes are not secrets: who keys by the SHA-256 of a token has done what is right.
    """
    if len(key) < _SHORTEST_IN_KEY:
        return None
    for found in _IN_KEY.finditer(key):
        kind = found.lastgroup or ""
        if kind != "named" or _is_random(found["named"]):
            return _TOLD[kind]
    return None


def shown_pattern(key: str) -> str:
    """The pattern of `key` (`budget/core/patterns.py`), with `{secret}` in place of one."""
    return fold(_IN_KEY.sub(_hide, key).encode("utf-8", "replace"))


def _hide(found: re.Match[str]) -> str:
    kind = found.lastgroup or ""
    secret = found[kind]
    return found[0] if kind == "named" and not _is_random(secret) else found[0].replace(secret, "{secret}")


def secret_in_json(octets: bytes) -> str | None:
    """What secret a JSON text, which may end anywhere, has under a name that says so."""
    for name, text in _JSON_FIELD.findall(octets.decode("utf-8", "replace")):
        if _is_meant(text) and (found := secret_name(name)) is not None:
            return found
    return None


def _is_random(text: str) -> bool:
    """Whether it has capitals, small letters and digits, as base64 has: hexadecimal digits may be a hash."""
    return all(any(test(letter) for letter in text) for test in (str.isupper, str.islower, str.isdigit))
