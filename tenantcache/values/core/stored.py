"""How a value is written into Redis, and read back: one JSON document that a person can read.

    {"tenantcache":1,"epoch":"...","log":[7,1732600000000000],"loaded":1732600000.5,"fresh":3600,"stale":0,
     "tags":["plan:pro"],"value":{"theme":"dark"}}

The value stands last, as its codec has written it. `log` is the newest entry of the log, number and time, that was
applied before the load began. Its reader decides by that, and by `epoch`, whether to believe it. Anything else is
not a copy, and never an error.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from tenantcache.freshness.core.logmark import LogMark
from tenantcache.values.core.lifetime import Lifetime

SCHEMA_VERSION: Final = 1

# It cannot stand within a string of JSON, which would escape the quotes. So its first occurrence ends the head.
_BEFORE_VALUE = b',"value":'


@dataclass(frozen=True, slots=True)
class Stored:
    """A value as it was loaded at `loaded_at` (server time, seconds since the Unix epoch), after `mark` was applied."""

    epoch: str
    mark: LogMark
    loaded_at: float
    lifetime: Lifetime
    tags: tuple[str, ...]
    body: bytes


def encode(stored: Stored) -> bytes:
    head = {
        "tenantcache": SCHEMA_VERSION,
        "epoch": stored.epoch,
        "log": [stored.mark.seq, stored.mark.at],
        "loaded": stored.loaded_at,
        "fresh": stored.lifetime.fresh,
        "stale": stored.lifetime.stale,
        "tags": stored.tags,
    }
    return json.dumps(head, separators=(",", ":")).encode("ascii")[:-1] + _BEFORE_VALUE + stored.body + b"}"


def decode(octets: bytes) -> Stored | None:
    """The copy in `octets`, of any origin, or None if that is not one of ours. Never raises."""
    head, found, rest = octets.partition(_BEFORE_VALUE)
    if not found or not rest.endswith(b"}"):
        return None
    try:
        parts = json.loads(head + b"}")
    except (ValueError, RecursionError):
        return None
    match parts:
        case {
            "tenantcache": 1,
            "epoch": str(epoch),
            "log": [int(seq), int(at)],
            "loaded": int() | float() as loaded_at,
            "fresh": int() | float() as fresh,
            "stale": int() | float() as stale,
            "tags": [*tags],
        } if _are_texts(tags):
            mark, lifetime = LogMark(seq, at), Lifetime(float(fresh), float(stale))
            return Stored(epoch, mark, float(loaded_at), lifetime, tuple(tags), rest[:-1])
    return None


def _are_texts(tags: Sequence[Any]) -> bool:
    return all(isinstance(tag, str) for tag in tags)
