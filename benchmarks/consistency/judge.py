"""Holds answers against the history: how stale was each, and was it ever true at all.

What is measured
----------------
The *staleness* of an answer that shows version i of a host is `max(0, invoked - acked(i + 1))`. It is the time from the
acknowledgement of the next version to its writer until the request was sent. It is a safe lower bound: the sender of
the request could have known the newer version for that long. The time between `invoked` and the answer's arrival is
not counted. An answer that was true at any instant of its request is correct (linearizability), even if the process is
paused right before it sends it.

The *upper bound* beside it, `returned - sent(i + 1)`, counts everything: the commit's own time, the way there, the
way back, and pauses in between. The truth of "how old was the answer when it arrived" lies between the two.

The *lateness* of a commit at a worker is the greatest staleness that any answer of that worker had because it lacked
the commit; 0 if none did. It is noted only if the worker was asked for a host of that commit within `PROBE_WINDOW` of
its acknowledgement. So a worker gets no good mark for not having been asked. The percentiles are
over these pairs, not over answers: most answers come long after any change and would make any system look good.

An answer that does not say which version it shows (404, and 403 for a suspended tenant) counts as the newest one that
it may be. That too errs towards the lower bound.

What is checked
---------------
* Each answer with a body equals one version of the host, in every field: nothing is mixed, nothing is made up.
* A worker that has answered a call of `invalidate` or `set` shows nothing older afterwards.
* One process never goes back. If an answer for a host came before the next request for it, the next answer is not
  older.
"""

from __future__ import annotations

import heapq
import json
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from benchmarks.consistency.history import Change, Content, Value

PROBE_WINDOW = 0.02
NO_ANSWER = 0
MAX_EXAMPLES = 5


class Answer(NamedTuple):
    """`incarnation` counts the processes of one worker; `status` NO_ANSWER: refused, reset or timed out."""

    worker: int
    incarnation: int
    host: str
    invoked: float
    returned: float
    status: int
    body: bytes = b""


@dataclass
class Verdict:
    """Times are in seconds. `wrong` and `backwards` hold descriptions; their counts stand beside them."""

    checked: int = 0
    unavailable: int = 0
    unanswered: int = 0
    longest: float = 0.0
    longest_upper: float = 0.0
    latenesses: list[float] = field(default_factory=list)
    beyond: list[Answer] = field(default_factory=list)
    wrong_count: int = 0
    wrong: list[str] = field(default_factory=list)
    backwards_count: int = 0
    backwards: list[str] = field(default_factory=list)

    def percentile(self, percent: float) -> float:
        """Of the latenesses; 0.0 if there are none."""
        ordered = sorted(self.latenesses)
        return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] if ordered else 0.0

    def note_wrong(self, text: str) -> None:
        self.wrong_count += 1
        if len(self.wrong) < MAX_EXAMPLES:
            self.wrong.append(text)

    def note_backwards(self, text: str) -> None:
        self.backwards_count += 1
        if len(self.backwards) < MAX_EXAMPLES:
            self.backwards.append(text)


class _HostHistory:
    """One host's changes, to be searched by what an answer shows."""

    def __init__(self, changes: Sequence[Change]) -> None:
        self.changes = changes
        self._places: dict[object, list[int]] = defaultdict(list)
        for index, change in enumerate(changes):
            for shown in _shown(change.content):
                self._places[shown].append(index)

    def places(self, answer: Answer) -> list[int]:
        """Every version that the answer may show, oldest first: what it shows, committed before it arrived."""
        found = self._places.get(_shown_by(answer), [])
        return found[: bisect_right(found, answer.returned, key=lambda index: self.changes[index].sent)]


def _shown(content: Content | Value | None) -> tuple[object, ...]:
    if content is None:
        return (404,)
    return (403,) if isinstance(content, Content) and content.status == "suspended" else (content,)


def _shown_by(answer: Answer) -> object:
    return _parse(answer.body) if answer.status == 200 else answer.status


@lru_cache(maxsize=4096)
def _parse(body: bytes) -> Content | Value | None:
    try:
        found = json.loads(body)
        return Value(**found["value"]) if "value" in found else Content.from_json(found)
    except (ValueError, KeyError, TypeError):
        return None


def judge(history: Mapping[str, Sequence[Change]], answers: Iterable[Answer], bound: float) -> Verdict:
    """Judge all answers; those that are `bound` seconds stale or more are kept in `beyond`."""
    verdict = Verdict()
    hosts = {host: _HostHistory(changes) for host, changes in history.items()}
    lateness: dict[tuple[int, int], float] = {}
    by_process: dict[tuple[int, int, str], list[tuple[Answer, list[int]]]] = defaultdict(list)
    for answer in answers:
        if answer.status == NO_ANSWER:
            verdict.unanswered += 1
        elif answer.status == 503:
            verdict.unavailable += 1
        else:
            verdict.checked += 1
            host = hosts[answer.host]
            places = host.places(answer)
            if not places:
                verdict.note_wrong(f"{answer.host} of worker {answer.worker}: {answer.status} {answer.body!r}")
                continue
            _measure(answer, host.changes, places[-1], bound, verdict, lateness)
            by_process[answer.worker, answer.incarnation, answer.host].append((answer, places))
    verdict.latenesses = list(lateness.values())
    for found in by_process.values():
        _check_order(found, verdict)
    return verdict


def _measure(
    answer: Answer,
    changes: Sequence[Change],
    place: int,
    bound: float,
    verdict: Verdict,
    lateness: dict[tuple[int, int], float],
) -> None:
    for index in range(max(place, 1), len(changes)):
        change = changes[index]
        late = answer.invoked - change.acked
        if late < 0:
            break
        pair = (change.commit, answer.worker)
        if index > place:
            lateness[pair] = max(late, lateness.get(pair, 0.0))
            if change.told_by == answer.worker:
                verdict.note_wrong(f"{answer.host} of worker {answer.worker}: {late:.3f} s after it was told itself")
        elif late <= PROBE_WINDOW:
            lateness.setdefault(pair, 0.0)
    if place + 1 < len(changes):
        following = changes[place + 1]
        staleness = answer.invoked - following.acked
        verdict.longest = max(verdict.longest, staleness)
        verdict.longest_upper = max(verdict.longest_upper, answer.returned - following.sent)
        if staleness >= bound:
            verdict.beyond.append(answer)


def _check_order(found: list[tuple[Answer, list[int]]], verdict: Verdict) -> None:
    """Of one host at one process. What an ambiguous answer shows is taken as the oldest that fits so far."""
    floor = 0
    arriving: list[tuple[float, int]] = []
    for answer, places in sorted(found, key=lambda pair: pair[0].invoked):
        while arriving and arriving[0][0] <= answer.invoked:
            floor = max(floor, heapq.heappop(arriving)[1])
        if places[-1] < floor:
            verdict.note_backwards(
                f"{answer.host} of worker {answer.worker} showed version {places[-1]} after version {floor}"
            )
            continue
        heapq.heappush(arriving, (answer.returned, next(place for place in places if place >= floor)))
