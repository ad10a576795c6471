"""What becomes of an answer of Postgres: the table, and how an answer gets its place in it."""

from __future__ import annotations

from itertools import product

import pytest

from tenantcache.freshness.core.freshness import Freshness
from tenantcache.freshness.core.logmark import LogMark
from tenantcache.lookup.core.judgement import FAILURES, STEPS, Answer, Judgement, Step, judge
from tenantcache.lookup.core.snapshot import Snapshot

ACME, GLOBEX = "subdomain:acme", "subdomain:globex"
EPOCH, OTHER_EPOCH = "one", "two"


def mark(seq: int) -> LogMark:
    return LogMark(seq, seq)


def answer(
    *,
    changed: str | None = None,
    epoch: str = EPOCH,
    seconds: float = 1.0,
    unknown: frozenset[str] = frozenset(),
    is_last: bool,
) -> Judgement:
    """To a question about both hosts, as of entry 1; `changed` is named by entry 2 before the answer comes."""
    freshness = Freshness(max_staleness=3.0, stale_if_error=0.0)
    freshness.restart(EPOCH, mark(1))
    asked = freshness.question(10.0)
    if changed is not None:
        freshness.apply(mark(2), "1", (changed,))
    snapshot = Snapshot(mark(1), epoch, {ACME: None, GLOBEX: None}, unknown=unknown)
    return judge(freshness, asked, 10.0 + seconds, snapshot, is_last=is_last)


def test_the_table_has_a_step_for_every_answer() -> None:
    assert set(STEPS) == set(product(Answer, (False, True)))
    assert {answer for (answer, _), step in STEPS.items() if step is Step.FAIL} == set(FAILURES)


def test_only_the_last_attempt_may_serve_once_or_fail() -> None:
    assert {step for (_, is_last), step in STEPS.items() if not is_last} == {Step.KEEP, Step.READ_AGAIN}
    assert {step for (_, is_last), step in STEPS.items() if is_last} == {Step.KEEP, Step.SERVE_ONCE, Step.FAIL}


@pytest.mark.parametrize("is_last", [False, True])
def test_what_is_accepted_is_kept(is_last: bool) -> None:
    assert answer(is_last=is_last) == Judgement({ACME: Step.KEEP, GLOBEX: Step.KEEP})


def test_what_a_change_has_overtaken_is_read_again_and_the_rest_is_kept() -> None:
    assert answer(changed=ACME, is_last=False) == Judgement({ACME: Step.READ_AGAIN, GLOBEX: Step.KEEP})


def test_at_last_it_is_served_once() -> None:
    assert answer(changed=ACME, is_last=True) == Judgement({ACME: Step.SERVE_ONCE, GLOBEX: Step.KEEP})


def test_what_comes_too_late_is_never_served() -> None:
    assert answer(seconds=3.0, is_last=False).steps == {ACME: Step.READ_AGAIN, GLOBEX: Step.READ_AGAIN}
    late = answer(seconds=3.0, is_last=True)
    assert late == Judgement({ACME: Step.FAIL, GLOBEX: Step.FAIL}, failure="Postgres answered, but too late")


def test_what_the_database_cannot_say_yet_fails_and_keeps_what_was_accepted() -> None:
    unknown = frozenset({ACME})
    assert answer(unknown=unknown, is_last=False).steps == {ACME: Step.READ_AGAIN, GLOBEX: Step.KEEP}
    undecided = answer(unknown=unknown, is_last=True)
    assert undecided.steps == {ACME: Step.FAIL, GLOBEX: Step.KEEP}
    assert undecided.failure == "the names of tenants are being read anew"


def test_a_read_that_fails_serves_nothing_once() -> None:
    undecided = answer(unknown=frozenset({ACME}), changed=GLOBEX, is_last=True)
    assert undecided.steps == {ACME: Step.FAIL, GLOBEX: Step.FAIL}


def test_another_epoch_begins_a_timeline() -> None:
    assert answer(epoch=OTHER_EPOCH, is_last=False).begins_timeline
    assert not answer(is_last=False).begins_timeline
