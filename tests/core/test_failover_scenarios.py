"""Scenarios of counter-store failover (`scenarios.py`), and that each rule is needed for one of them."""

from __future__ import annotations

import re
from collections.abc import Callable
from math import inf
from pathlib import Path

import pytest

from tenantcache.budget.core.bands import Band
from tenantcache.ratelimit.core import failover, handover
from tenantcache.ratelimit.core.agreement import QUIET, Agreement
from tenantcache.ratelimit.core.failover import Failover
from tenantcache.ratelimit.core.handover import Handover
from tenantcache.ratelimit.core.isolation import TRANSITIONS as ISOLATION
from tenantcache.ratelimit.core.isolation import Contact, Isolation, Sight
from tenantcache.ratelimit.core.redishealth import TRANSITIONS, RedisEvent, RedisHealth, RedisState
from tenantcache.ratelimit.core.windows import minute_at
from tests.core.fleet_of_stores import World
from tests.core.scenarios import FILES, is_true, play, rules_of
from tests.recorded import compare

CORE = "tenantcache.ratelimit.core"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_what_happens_is_as_recorded(file: Path) -> None:
    now, recorded = compare(file, play)
    assert now == recorded


Patch = pytest.MonkeyPatch


def known_forever(agreement: Agreement, minute: int) -> object:
    choice = agreement.choice
    return choice.store if minute >= choice.from_minute else choice.previous


def reports_what_it_decided(self: Failover, now: float) -> bool:
    minute = minute_at(now)
    is_leaving = self.choice.store == "postgres" and self.begins(now) is not None
    return is_leaving and self.handover.has_to_report(self.choice.version, minute)


def change(patch: Patch, state: RedisState, event: RedisEvent, becomes: RedisState) -> None:
    changed = {**TRANSITIONS, state: {**TRANSITIONS[state], event: becomes}}
    patch.setattr(f"{CORE}.redishealth.TRANSITIONS", changed)


def let_ping_prove_that_redis_counts(patch: Patch) -> None:
    patch.setattr(RedisHealth, "ping_suffices", True)
    change(patch, RedisState.NOT_COUNTING, RedisEvent.PINGED, RedisState.ANSWERING)


def let_redis_end_isolation(patch: Patch) -> None:
    ends = {Sight.REDIS: Contact.CONNECTED, Sight.REDIS_AGAIN: Contact.DOUBTFUL}
    changed = {**ISOLATION, Contact.ISOLATED: {**ISOLATION[Contact.ISOLATED], **ends}}
    patch.setattr(f"{CORE}.isolation.TRANSITIONS", changed)


BROKEN: dict[str, tuple[str, Callable[[Patch], object]]] = {
    "tokens are spent whatever their version": (
        "failover 1",
        lambda patch: patch.setattr(Failover, "version_of", lambda *_: (0, 0)),
    ),
    "what was known once is known forever": (
        "failover 1",
        lambda patch: patch.setattr(Agreement, "store_of", known_forever),
    ),
    "a restart is not sat out": (
        "failover 2",
        lambda patch: patch.setattr(f"{CORE}.redishealth.UNAVAILABLE_AFTER", 0.0),
    ),
    "silence proves something": ("failover 2", lambda patch: patch.setattr(f"{CORE}.redishealth.FAILING_FOR", -1.0)),
    "PING is an answer": ("failover 2", let_ping_prove_that_redis_counts),
    "an account that is refused is like silence": (
        "failover 2",
        lambda patch: change(patch, RedisState.ANSWERING, RedisEvent.ACCOUNT_REFUSED, RedisState.REFUSING),
    ),
    "no minute is handed over": (
        "failover 2",
        lambda patch: patch.setattr(Failover, "has_to_hand_over", lambda *_: False),
    ),
    "nothing is reported unavailable": (
        "failover 3",
        lambda patch: patch.setattr(Failover, "has_to_report_unavailable", lambda *_: False),
    ),
    "Redis is followed each time": (
        "failover 3",
        lambda patch: patch.setattr(Failover, "_quiet_after", lambda *_: QUIET),
    ),
    "lost counters are nothing": (
        "failover 4",
        lambda patch: patch.setattr(f"{CORE}.lostcounters.MIN_TENANTS_WITH_LOST_COUNTERS", 1000),
    ),
    "counters that are lost again are nothing more": (
        "failover 4",
        lambda patch: patch.setattr(f"{CORE}.failover.STEADY", 0.0),
    ),
    "days go back": (
        "failover 5",
        lambda patch: patch.setattr(Failover, "day_store", lambda self, _, now: self.store_of(minute_at(now))),
    ),
    "nothing vouches": ("failover 6", lambda patch: patch.setattr(Failover, "_vouch", lambda *_: None)),
    "a pause breaks no chain of answers": (
        "failover 6",
        lambda patch: patch.setattr(f"{CORE}.redishealth.WITNESS_GAP", 1e9),
    ),
    "Redis vouches for any time": ("failover 6", lambda patch: patch.setattr(f"{CORE}.failover.DWELL", 1e9)),
    "a budget is not obeyed": ("failover 8", lambda patch: patch.setattr(Band, "may_count", True)),
    "a planned move gives the minute up": (
        "failover 8",
        lambda patch: patch.setattr(Failover, "has_to_hand_over", reports_what_it_decided),
    ),
    "isolation is not noticed": ("failover 7", lambda patch: patch.setattr(Failover, "note_time", lambda *_: None)),
    "a minute is its own at once": (
        "failover 7",
        lambda patch: patch.setattr(f"{CORE}.isolation.ISOLATED_FOR", -100.0),
    ),
    "a Redis that is back ends isolation": ("failover 7", let_redis_end_isolation),
    "a process that was not sure does not doubt that others were": (
        "failover 7",
        lambda patch: patch.setattr(f"{CORE}.isolation.MAY_BE_ISOLATED", {Contact.ISOLATED}),
    ),
    "no other process knows a later minute": (
        "failover 7",
        lambda patch: patch.setattr(f"{CORE}.isolation.KNOWN_LATER", -inf),
    ),
    "a process that stood still knows that it was isolated": (
        "failover 7",
        lambda patch: patch.setattr(Isolation, "_notice_pause", lambda *_: None),
    ),
    "a row that is being changed is not heard of": (
        "failover 7",
        lambda patch: patch.setattr(Failover, "_has_log", lambda self, now: now < self.agreement.pulled + 3),
    ),
    "a holder is not registered": (
        "handover 1",
        lambda patch: patch.setattr(Handover, "covers", lambda *_, **__: True),
    ),
    "a process takes after its report": (
        "handover 2",
        lambda patch: patch.setattr(Handover, "has_given_up", lambda *_: False),
    ),
    "a report that was made is confirmed": (
        "handover 3",
        lambda patch: patch.setattr(Handover, "has_to_report", lambda self, version, _: self._given_up != version),
    ),
    "a report is one of any minute": (
        "handover 3",
        lambda patch: patch.setattr(
            Handover, "has_to_report", lambda self, version, _: (self._reported or (0, 0))[0] != version
        ),
    ),
    "a minute is handed over without some": (
        "handover 4",
        lambda patch: patch.setattr("tests.core.fleet_postgres.WAITS_FOR_ALL", False),
    ),
    "a process that leaves says nothing": ("handover 5", lambda patch: patch.setattr(World, "leave", World.crash)),
    "what a process decided by itself is reported": (
        "handover 6",
        lambda patch: patch.setattr(Failover, "has_to_hand_over", reports_what_it_decided),
    ),
    "what others may have decided by themselves is handed over": (
        "handover 6",
        lambda patch: patch.setattr(Isolation, "has_spent_alone", lambda self, minute: minute == self.own_minute),
    ),
    "a minute that is handed over stays lost": (
        "handover 6",
        lambda patch: patch.setattr(Isolation, "recover", lambda *_: None),
    ),
}

DIES = {
    "what was known once is known forever": "03",
    "PING is an answer": "05",
    "silence proves something": "06",
    "an account that is refused is like silence": "07",
    "Redis is followed each time": "09",
    "counters that are lost again are nothing more": "11",
    "a pause breaks no chain of answers": "26",
    "nothing vouches": "26",
    "Redis vouches for any time": "24",
    "a Redis that is back ends isolation": "33",
    "a process that stood still knows that it was isolated": "30",
    "a row that is being changed is not heard of": "29",
    "a report is one of any minute": "20",
    "what others may have decided by themselves is handed over": "27",
    "a minute that is handed over stays lost": "25",
}
"""The scenario that is known to die, if that is not the first one of the rule. It is played first."""


@pytest.mark.parametrize("what", BROKEN)
def test_a_scenario_dies_without_its_rule(what: str, monkeypatch: Patch) -> None:
    rule, break_it = BROKEN[what]
    files = sorted(FILES, key=lambda file: not file.name.startswith(DIES.get(what, "")))
    proofs = [text for text in (file.read_text() for file in files) if rule in rules_of(text)]
    break_it(monkeypatch)
    assert not all(is_true(text) for text in proofs)


def test_a_scenario_that_is_told_otherwise_dies() -> None:
    text = FILES[0].read_text()
    assert is_true(text)
    told_last = text.rstrip().splitlines()[-1]
    assert not is_true(text.replace(told_last, told_last + " "))
    assert not is_true(text.replace(told_last, ""))
    assert not is_true(f"{text}{told_last}\n")


def test_each_rule_has_a_scenario_and_a_way_to_break_it() -> None:
    named = {
        f"{name} {number}"
        for name, module in (("failover", failover), ("handover", handover))
        for number in re.findall(r"^(\d+)\. ", module.__doc__ or "", re.MULTILINE)
    }
    assert len(named) == 14
    assert set().union(*(rules_of(file.read_text()) for file in FILES)) == named
    assert {rule for rule, _ in BROKEN.values()} == named
