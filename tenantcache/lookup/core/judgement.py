"""What becomes of an answer of Postgres: kept, read again, served once, or refused.

Rules:

* An answer is kept if `Freshness` accepts it, and only then. All callers that asked get it.
* An answer that a change has overtaken is read again. Of the last attempt it is served without being kept, and only to
  those who asked before it was read.
* An answer that took longer than `max_staleness` is never served. Timeouts see to this, except if the machine was
  suspended: their clock stood still meanwhile.
* If the database cannot say yet whether an alias leads to a tenant, that is not "unknown host": the read fails.
* A read fails as a whole. What was accepted is kept all the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from tenantcache.freshness.core.freshness import Freshness, Question
from tenantcache.lookup.core.alias import id_in
from tenantcache.lookup.core.copies import Copy
from tenantcache.lookup.core.snapshot import Snapshot
from tenantcache.tenant import Row, Tenant


class Answer(Enum):
    """Of one alias."""

    ACCEPTED = "as new as every change that is known here"
    OVERTAKEN = "older than a change that is known here, or of an earlier generation"
    UNDECIDED = "the database cannot say yet"
    LATE = "it took longer than answers may be old"


class Step(Enum):
    """What is done with an answer."""

    KEEP = "keep it in memory"
    READ_AGAIN = "ask Postgres once more"
    SERVE_ONCE = "give it to those who asked before it was read, and keep nothing"
    FAIL = "refuse: no store can say"


STEPS: Mapping[tuple[Answer, bool], Step] = {
    # Answer, whether this was the last attempt
    (Answer.ACCEPTED, False): Step.KEEP,
    (Answer.ACCEPTED, True): Step.KEEP,
    (Answer.OVERTAKEN, False): Step.READ_AGAIN,
    (Answer.OVERTAKEN, True): Step.SERVE_ONCE,
    (Answer.UNDECIDED, False): Step.READ_AGAIN,
    (Answer.UNDECIDED, True): Step.FAIL,
    (Answer.LATE, False): Step.READ_AGAIN,
    (Answer.LATE, True): Step.FAIL,
}

FAILURES: Mapping[Answer, str] = {
    Answer.LATE: "Postgres answered, but too late",
    Answer.UNDECIDED: "the names of tenants are being read anew",
}


@dataclass(frozen=True, slots=True)
class Judgement:
    """`steps` by alias. `begins_timeline`: the answer is from another timeline, so everything held is dropped first.
    `failure` says why the read fails, if it does."""

    steps: Mapping[str, Step]
    begins_timeline: bool = False
    failure: str | None = None


def judge(freshness: Freshness, asked: Question, now: float, snapshot: Snapshot, *, is_last: bool) -> Judgement:
    """Judge the answer to `asked` that has come `now`, in seconds. `freshness` notes what the answer has seen."""
    generation = freshness.generation
    is_believed = freshness.believes(asked, now, snapshot.epoch, snapshot.mark, pending=snapshot.pending)
    is_late = not is_believed and now >= asked.sent_at + freshness.max_staleness
    answers = {
        alias: _answer(freshness, asked, snapshot, alias, row, is_believed=is_believed, is_late=is_late)
        for alias, row in snapshot.rows.items()
    }
    steps = {alias: STEPS[answer, is_last] for alias, answer in answers.items()}
    failure = next((FAILURES[answers[alias]] for alias, step in steps.items() if step is Step.FAIL), None)
    if failure is not None:
        steps = {alias: step if step is Step.KEEP else Step.FAIL for alias, step in steps.items()}
    for alias, step in steps.items():
        if step is Step.SERVE_ONCE and snapshot.pending:
            freshness.observe(snapshot.mark, tenant_id_of(alias, snapshot.rows[alias]), alias, pending=True)
    return Judgement(steps, freshness.generation != generation, failure)


def _answer(
    freshness: Freshness,
    asked: Question,
    snapshot: Snapshot,
    alias: str,
    row: Row | None,
    *,
    is_believed: bool,
    is_late: bool,
) -> Answer:
    if is_late:
        return Answer.LATE
    if alias in snapshot.unknown:
        return Answer.UNDECIDED
    if not is_believed:
        return Answer.OVERTAKEN
    tenant_id = tenant_id_of(alias, row)
    if not freshness.accepts_read(asked, snapshot.mark, alias, tenant_id, pending=snapshot.pending):
        return Answer.OVERTAKEN
    freshness.observe(snapshot.mark, tenant_id, alias, pending=snapshot.pending)
    return Answer.ACCEPTED


def believes(freshness: Freshness, now: float, copy: Copy, alias: str, tenant: Tenant) -> bool:
    """Whether `copy`, which holds `tenant` and was made by another process or lay under `alias`, may be kept `now`."""
    return (
        alias in tenant.aliases
        and freshness.is_valid(now)
        and freshness.accepts_shared(copy.epoch, copy.mark, alias, tenant.id)
    )


def tenant_id_of(alias: str, row: Row | None) -> str | None:
    """The tenant that an answer names. The creation of one without hosts is logged under its id alone."""
    return id_in(alias) if row is None else row["id"]
