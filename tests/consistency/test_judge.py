"""The judge of the consistency run: it must see every kind of wrong answer, and accuse no right one."""

from __future__ import annotations

import json
from typing import Any

import pytest

from benchmarks.consistency.history import Change, Content, History, Value
from benchmarks.consistency.judge import Answer, Verdict, judge

HOST = "acme.example.com"
BOUND = 3.0


def content(version: int, **changed: Any) -> Content:
    return Content("1", f"Acme v{version}", version, "acme", ("shop.acme.io",), "active")._replace(**changed)


def history(*changes: tuple[float, float, Content | None]) -> dict[str, list[Change]]:
    """Version 0 from the beginning, and then what is given as (sent, acked, content)."""
    noted = History()
    noted.begin(HOST, content(0))
    for number, (sent, acked, shown) in enumerate(changes):
        noted.add(HOST, Change(number, sent, acked, shown))
    return noted.changes


def answer(
    shown: Content | int, invoked: float, returned: float | None = None, *, worker: int = 0, incarnation: int = 1
) -> Answer:
    """An answer that shows a tenant, or one with a status."""
    arrived = invoked + 0.001 if returned is None else returned
    if isinstance(shown, int):
        return Answer(worker, incarnation, HOST, invoked, arrived, shown)
    return Answer(worker, incarnation, HOST, invoked, arrived, 200, json.dumps(shown._asdict()).encode())


ONE_CHANGE = history((10.0, 10.1, content(1)))


def test_the_newest_version_is_not_stale() -> None:
    verdict = judge(ONE_CHANGE, [answer(content(1), 10.2), answer(content(1), 99.0)], BOUND)
    assert verdict == Verdict(checked=2, longest=0.0)


def test_staleness_runs_from_the_acknowledgement_to_the_request() -> None:
    verdict = judge(ONE_CHANGE, [answer(content(0), 11.5, 14.0)], BOUND)
    assert verdict.longest == pytest.approx(1.4)
    assert verdict.longest_upper == pytest.approx(4.0), "from sending the commit to the answer's arrival"
    assert verdict.beyond == []
    assert not verdict.wrong_count


def test_the_old_version_is_no_fault_while_the_commit_is_under_way() -> None:
    verdict = judge(ONE_CHANGE, [answer(content(0), 10.05, 20.0), answer(content(1), 10.05)], BOUND)
    assert verdict.longest == 0
    assert not verdict.wrong_count


def test_an_answer_as_old_as_the_bound_is_beyond_it() -> None:
    stale = answer(content(0), 13.2)
    assert judge(ONE_CHANGE, [answer(content(0), 13.0), stale], BOUND).beyond == [stale]


def test_staleness_counts_from_the_next_version_not_from_the_newest() -> None:
    changes = history((10.0, 10.0, content(1)), (20.0, 20.0, content(2)))
    assert judge(changes, [answer(content(0), 20.5)], BOUND).longest == pytest.approx(10.5)


@pytest.mark.parametrize(
    "mixed",
    [
        content(1, name="Acme v0"),
        content(1, id="2"),
        content(1, domains=()),
        content(1, status="maintenance"),
        content(7),
    ],
)
def test_an_answer_that_was_never_true_is_wrong(mixed: Content) -> None:
    verdict = judge(ONE_CHANGE, [answer(mixed, 12.0)], BOUND)
    assert verdict.wrong_count == 1
    assert HOST in verdict.wrong[0]


@pytest.mark.parametrize("status", [404, 403, 500, 429])
def test_a_refusal_that_was_never_true_is_wrong(status: int) -> None:
    assert judge(ONE_CHANGE, [answer(status, 12.0)], BOUND).wrong_count == 1


def test_a_body_that_is_no_tenant_is_wrong() -> None:
    assert judge(ONE_CHANGE, [answer(content(1), 12.0)._replace(body=b"Internal Server Error")], BOUND).wrong_count == 1


def test_a_version_from_before_its_commit_was_sent_is_wrong() -> None:
    assert judge(ONE_CHANGE, [answer(content(1), 9.0, 9.5)], BOUND).wrong_count == 1


def test_who_cannot_answer_is_counted_and_not_judged() -> None:
    verdict = judge(ONE_CHANGE, [answer(503, 12.0), answer(0, 12.0)], BOUND)
    assert (verdict.unavailable, verdict.unanswered, verdict.checked) == (1, 1, 0)


def test_a_404_and_a_403_are_stale_like_anything_else() -> None:
    changes = history((10.0, 10.0, None), (20.0, 20.0, content(1, status="suspended")), (30.0, 30.0, content(2)))
    assert judge(changes, [answer(404, 21.0)], BOUND).longest == pytest.approx(1.0)
    assert judge(changes, [answer(403, 32.0)], BOUND).longest == pytest.approx(2.0)
    assert judge(changes, [answer(404, 15.0), answer(403, 25.0)], BOUND).longest == 0


def test_one_process_may_not_go_back() -> None:
    there_and_back = [answer(content(1), 10.2), answer(content(0), 10.3)]
    assert judge(ONE_CHANGE, there_and_back, BOUND).backwards_count == 1
    assert judge(ONE_CHANGE, there_and_back[::-1], BOUND).backwards_count == 1, "the order of noting does not matter"


def test_overlapping_requests_and_other_processes_may_differ() -> None:
    newer = answer(content(1), 10.2, 10.4)
    for older in (
        answer(content(0), 10.3),
        answer(content(0), 10.5, worker=1),
        answer(content(0), 10.5, incarnation=2),
    ):
        assert judge(ONE_CHANGE, [newer, older], BOUND).backwards_count == 0


def test_what_an_ambiguous_answer_shows_is_not_held_against_the_process() -> None:
    changes = history((10.0, 10.0, None), (20.0, 20.0, content(1)), (30.0, 30.0, None))
    first_or_last = [answer(404, 30.5), answer(content(1), 30.6)]
    assert judge(changes, first_or_last, BOUND).backwards_count == 0, "the 404 may be the first of the two"
    assert judge(changes, [answer(content(1), 30.3), *first_or_last], BOUND).backwards_count == 1


def test_percentiles_are_over_commits_that_a_worker_was_asked_about() -> None:
    changes = history(*((float(number), float(number), content(number)) for number in range(1, 101)))
    fresh = [answer(content(number), number + 0.01) for number in range(1, 100)]
    verdict = judge(changes, [*fresh, answer(content(99), 100.5), answer(content(100), 100.6)], BOUND)
    assert len(verdict.latenesses) == 100
    assert verdict.percentile(50) == 0
    assert verdict.percentile(99) == pytest.approx(0.5)
    assert judge(changes, [answer(content(100), 200.0)], BOUND).latenesses == [], "nobody asked in time"


# Values.


def of_value(version: int | None, invoked: float, *, worker: int = 0) -> Answer:
    shown = None if version is None else {"name": "a", "version": version}
    body = json.dumps({"value": shown}).encode()
    return Answer(worker, 1, "/a", invoked, invoked + 0.001, 200 if shown else 404, body)


def values_history(told_by: int | None) -> dict[str, list[Change]]:
    noted = History()
    noted.begin("/a", Value("a", 0))
    noted.add("/a", Change(1, 10.0, 10.1, Value("a", 1), told_by))
    return noted.changes


def test_values_are_judged_as_tenants_are() -> None:
    verdict = judge(values_history(None), [of_value(0, 11.1), of_value(1, 11.2)], BOUND)
    assert verdict.longest == pytest.approx(1.0)
    assert (verdict.checked, verdict.wrong_count, verdict.backwards_count) == (2, 0, 0)
    assert judge(values_history(None), [of_value(7, 11.1), of_value(None, 11.1)], BOUND).wrong_count == 2


def test_a_worker_that_was_told_itself_shows_nothing_older() -> None:
    changes = values_history(told_by=1)
    assert judge(changes, [of_value(0, 10.2, worker=1)], BOUND).wrong_count == 1
    assert judge(changes, [of_value(0, 10.05, worker=1), of_value(0, 10.2, worker=0)], BOUND).wrong_count == 0
