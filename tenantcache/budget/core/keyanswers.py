"""What a Redis answers about one key, and which of the questions it does not take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

GONE_TTL = -2
GONE_TYPE = "none"


class Question(Enum):
    """A command about one key."""

    TYPE = "TYPE"
    TTL = "TTL"
    SIZE = "MEMORY USAGE"


@dataclass(frozen=True, slots=True)
class Answer:
    """None stands for what is not known. `ttl` is in seconds, -1 without expiry; `size` is in bytes."""

    type: str | None = None
    ttl: int | None = None
    size: int | None = None


def read_answer(questions: Sequence[Question], replies: Sequence[Any]) -> Answer | None:
    """The answers to `questions` about one key; an exception is one to what was refused. None if the key is gone."""
    known = {
        question: reply for question, reply in zip(questions, replies, strict=True) if not isinstance(reply, Exception)
    }
    kind, ttl = known.get(Question.TYPE), known.get(Question.TTL)
    kind = kind.decode("utf-8", "replace") if isinstance(kind, bytes) else kind
    if kind == GONE_TYPE or ttl == GONE_TTL or (Question.SIZE in known and known[Question.SIZE] is None):
        return None
    return Answer(kind, ttl, known.get(Question.SIZE))
