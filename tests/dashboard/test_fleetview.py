"""What the reports of several processes come to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from tenantcache.budget.core.budget import Budget
from tenantcache.fleet.core.events import Event, events_between
from tenantcache.fleet.core.history import SLOT, SLOTS, Counts, History, counts_of
from tenantcache.fleet.reportstore import Identity, LoggedChange
from tenantcache.stats import CounterStats, Stats
from tenantcache.testing import MemoryCache
from tenantcache.web.dashboard.figures import rate, share, span
from tenantcache.web.dashboard.fleetview import FleetView
from tenantcache.web.dashboard.notices import Notice, notices_of
from tenantcache.web.dashboard.processview import ProcessView, read_process

NOW = 1_000_000.0
LAST = int(NOW // SLOT) - 2
"""The newest slot that is shown."""

NOTHING: Counts = {
    "requests": 0,
    "denied": 0,
    "unavailable": 0,
    "over_budget": 0,
    "unknown": 0,
    "closed": 0,
    "malformed": 0,
    "loads": 0,
    "in_memory": 0,
    "in_redis": 0,
    "in_postgres": 0,
    "stale_served": 0,
    "commands": 0,
}


COUNTERS: CounterStats = {
    "store": "redis",
    "isolated": False,
    "known": True,
    "since": 0,
    "why": "",
    "changes_to": None,
    "changes_at": None,
    "changes": 0,
    "postgres": "answering",
    "redis": "answering",
}


def budget() -> Budget:
    return MemoryCache().budget


def stats() -> Stats:
    return MemoryCache().stats()


def process(number: int, *, at: float = NOW, slots: dict[int, int] | None = None, **more: object) -> ProcessView:
    """A healthy one; `slots` are its requests by slot."""
    identity = Identity(UUID(int=number), "host", number, "1")
    told = {slot: {**NOTHING, "requests": requests} for slot, requests in (slots or {}).items()}
    values = {"is_following": True, "is_valid": True, "valid_for": 3.0, **more}
    return ProcessView(identity, at, at - 60, **history(told), **values)  # type: ignore[arg-type]


def history(told: Mapping[int, Counts]) -> dict[str, Any]:
    """The counts of some slots, as a process has them."""
    if not told:
        return {}
    slots = range(min(told), max(told) + 1)
    counts = {name: [told.get(slot, NOTHING)[name] for slot in slots] for name in NOTHING}
    return {"first_slot": slots.start, "counts": counts}


def fleet(own: ProcessView, *others: ProcessView, **more: object) -> FleetView:
    return FleetView(NOW, own, others, budget(), **more)  # type: ignore[arg-type]


def titles(view: FleetView, told: Stats | None = None) -> list[str]:
    found = notices_of(view, told or stats(), max_staleness=3, stale_if_error=300)
    return [notice.title for notice in found]


class TestHistory:
    def test_what_came_since_the_look_before_belongs_to_a_slot(self) -> None:
        history = History()
        for slot, requests in ((10, 5), (11, 8), (12, 8), (20, 30)):
            history.note(slot, {**NOTHING, "requests": requests})
        document = history.document()
        assert document["slots"] == [11, 12, 20]
        assert document["counts"]["requests"] == [3, 0, 22]

    def test_a_clock_that_is_set_leaves_slots_in_order(self) -> None:
        history = History()
        for slot in (10, 11, 12, 13, 12, 13, 5_000, 5_001):
            history.note(slot, NOTHING)
            slots = history.document()["slots"]
            assert slots == sorted(set(slots))
        assert slots == [5_000, 5_001]

    def test_it_keeps_a_quarter_of_an_hour(self) -> None:
        history = History()
        for slot in range(SLOTS + 50):
            history.note(slot, NOTHING)
        assert history.document()["slots"] == list(range(50, SLOTS + 50))


class TestSums:
    def test_processes_are_added_up_slot_by_slot(self) -> None:
        view = fleet(process(1, slots={LAST - 1: 20, LAST: 40}), process(2, slots={LAST: 60, LAST + 1: 1000}))
        assert view.series("requests") == [2.0, 10.0]
        assert view.per_second("requests") == 6.0
        assert view.per_second_of(view.own, "requests") == 3.0

    def test_a_slot_without_a_report_is_empty_and_old_ones_are_left_out(self) -> None:
        assert fleet(process(1, slots={LAST - 3: 10, LAST: 10})).series("requests") == [1.0, 0.0, 0.0, 1.0]
        long = fleet(process(1, slots={LAST - 200: 1_000, LAST - 3: 10, LAST: 10}))
        assert long.series("requests") == [0.0] * (SLOTS - 4) + [1.0, 0.0, 0.0, 1.0]
        assert long.total("requests") == 20
        assert long.covered == SLOTS * SLOT

    def test_processes_that_were_killed_an_hour_ago_count_no_more(self) -> None:
        view = fleet(process(1, slots={LAST: 10}), process(2, at=NOW - 3_000, slots={LAST - 300: 10, LAST - 299: 10}))
        assert view.series("requests")[-1] == 1.0
        assert view.total("requests") == 10

    def test_lookups_are_told_by_the_tier_that_answered(self) -> None:
        told = stats()
        told["limits"]["fast"] = 80
        told["lookups"]["answers"] = {
            "memory": {"found": 2, "unknown": 100, "stale": 3},
            "index": {"found": 0, "unknown": 1_000, "stale": 0},
            "redis": {"found": 5, "unknown": 0, "stale": 0},
            "postgres": {"found": 9, "unknown": 1, "stale": 0},
        }
        tiers = fleet(ProcessView(process(1).identity, NOW, NOW, **history({LAST: counts_of(told)}))).tiers
        assert (tiers.memory, tiers.redis, tiers.postgres) == (85, 5, 10)

    def test_a_request_counts_once_whatever_it_costs(self) -> None:
        told = stats()
        told["usage"]["requests"] = 500  # tokens
        told["limits"]["decisions"]["tenant"] = {"admitted": 7, "denied": 2, "unavailable": 1}
        assert counts_of(told)["requests"] == 7
        told["limits"]["shadowed"] = 3
        assert counts_of(told)["requests"] == 10

    def test_refused_tenants_of_all_processes_with_their_named_limits(self) -> None:
        old = process(3, at=NOW - 2_000, refused={"a": 1_000})
        view = fleet(process(1, refused={"a": 1, "b\x1fexports": 5}), process(2, refused={"a": 2, "b": 1}), old)
        assert view.refused == [("b", 6), ("a", 3)]

    def test_a_process_lags_behind_what_was_logged_before_it_reported(self) -> None:
        changes = [LoggedChange(12, NOW - 1, "a", ()), LoggedChange(11, NOW - 30, "a", ())]
        behind, current = process(2, at=NOW - 5, applied=9), process(3, at=NOW - 5, applied=11)
        view = fleet(process(1, applied=12), behind, current, changes=changes)
        assert [view.lag(each) for each in (view.own, behind, current)] == [0, 2, 0]


class TestEvents:
    def test_what_several_processes_saw_is_told_once(self) -> None:
        gone = ("redis", "answering", "gone", "")
        view = fleet(
            process(1, events=[Event(100, *gone), Event(400, *gone)]),  # type: ignore[arg-type]
            process(2, events=[Event(101, *gone)]),  # type: ignore[arg-type]
        )
        assert [(told.event.at, told.processes) for told in view.events] == [(400, 1), (100, 2)]

    def test_changes_of_state_between_two_looks(self) -> None:
        before, after = stats(), stats()
        after["redis"]["band"] = "thrift"
        after["freshness"] |= {"following": True, "valid": before["freshness"]["valid"]}
        assert [event[1:4] for event in events_between(before, after, 7)] == [
            ("log", "lost", "followed"),
            ("band", "normal", "thrift"),
        ]
        assert events_between(before, before, 7) == []


class TestNotices:
    def test_nothing_is_wrong(self) -> None:
        assert titles(fleet(process(1), process(2))) == ["All is well"]

    def test_postgres_does_not_answer(self) -> None:
        view = fleet(process(1), process(2, at=NOW - 20), fault="refused", fault_since=NOW - 10, read_at=NOW - 12)
        [notice] = notices_of(view, stats(), max_staleness=3, stale_if_error=300)
        assert notice.title == "Postgres does not answer"
        assert "for 5 min more" in notice.text
        assert len(view.live) == 2  # it reported when that could be read

    def test_an_outage_begins_when_the_process_has_noticed(self) -> None:
        lost = [Event(NOW - 60, "log", "followed", "lost", "")]
        before = process(1, events=lost)  # it follows again, and this is another outage
        for own, since in ((process(1, events=lost, is_following=False), NOW - 60), (before, NOW - 10)):
            assert fleet(own, fault="refused", fault_since=NOW - 10).outage_since == since
        assert fleet(before).outage_since is None

    def test_served_no_longer(self) -> None:
        view = fleet(process(1), fault="refused", fault_since=NOW - 400)
        assert "served no longer" in notices_of(view, stats(), max_staleness=3, stale_if_error=300)[0].text

    def test_a_process_goes_silent(self) -> None:
        assert titles(fleet(process(1), process(2, at=NOW - 31))) == ["1 process is silent"]
        assert titles(fleet(process(1), process(2, at=NOW - 29))) == ["All is well"]
        assert titles(fleet(process(1), process(2, at=NOW - 3_000))) == ["All is well"]  # it was replaced long ago

    def test_a_process_has_lost_the_log(self) -> None:
        lost = process(2, is_following=False)
        assert titles(fleet(process(1), lost, process(3, is_valid=False))) == ["2 processes are not known to be fresh"]

    def test_an_outage_of_redis_from_its_beginning_to_its_end(self) -> None:
        told = stats()
        counters = told["limits"]["counters"] = {**COUNTERS, "redis": "failing"}
        found: list[Notice] = []
        for change in (
            {},
            {"redis": "gone", "changes_to": "postgres", "changes_at": NOW + 9},
            {"store": "postgres", "since": int(NOW), "changes_to": None, "changes_at": None},
            {"redis": "answering"},
            {"changes_to": "redis", "changes_at": NOW + 60},
            {"store": "redis", "changes_to": None, "changes_at": None},
        ):
            counters.update(change)  # type: ignore[typeddict-item]
            found += notices_of(fleet(process(1)), told, max_staleness=3, stale_if_error=300)
        assert [(notice.level, notice.title) for notice in found] == [
            ("warn", "Redis fails"),
            ("bad", "Redis does not answer"),
            ("bad", "Redis does not answer"),
            ("warn", "Limits are counted in Postgres"),
            ("warn", "Redis is back"),
            ("good", "All is well"),
        ]
        assert found[1].text.startswith("From 13:46:49 on limits are counted in Postgres.")

    def test_no_store_counts(self) -> None:
        away = fleet(process(1), fault="refused", fault_since=NOW - 10)
        for view, change in ((away, {"store": "postgres", "redis": "gone"}), (fleet(process(1)), {"isolated": True})):
            told = stats()
            told["limits"]["counters"] = {**COUNTERS, **change}  # type: ignore[typeddict-item]
            assert "No store counts limits" in titles(view, told)
            assert "Redis does not answer" not in titles(view, told)

    def test_the_worst_comes_first(self) -> None:
        unavailable = ProcessView(
            process(1).identity,
            NOW,
            NOW,
            is_following=True,
            is_valid=True,
            **history({LAST: {**NOTHING, "unavailable": 5}}),
        )
        assert titles(fleet(unavailable, process(2, at=NOW - 40))) == [
            "Requests are refused with 503",
            "1 process is silent",
        ]


class TestReports:
    def test_one_of_another_version_is_read_as_far_as_it_goes(self) -> None:
        identity = process(1).identity
        for document in ({}, {"stats": 7, "history": [], "events": {}, "refused": "no"}, {"stats": {"limits": None}}):
            assert read_process(identity, NOW, document) == ProcessView(identity, NOW, NOW)
        strange = {"events": [[1, "cache", "a", "b", ""], ["x"], 5, [1, "redis", "answering", "gone", ""]]}
        [event] = read_process(identity, NOW, strange).events
        assert event == Event(1.0, "redis", "answering", "gone", "")

    def test_what_a_process_tells_is_read_again(self) -> None:
        cache = MemoryCache(memory_max_tenants=5)
        view = read_process(cache.reports.identity, NOW, dict(cache.reports.document()))
        assert (view.is_following, view.tenants, view.counts, view.events) == (False, 0, {}, ())


def test_figures() -> None:
    assert [rate(value) for value in (0, 0.0042, 3.14, 1234.5)] == ["0", "0.0042", "3.1", "1,234"]
    assert [share(part, 1000) for part in (0, 1, 500, 999, 1000)] == ["0 %", "0.10 %", "50.0 %", "99.90 %", "100 %"]
    assert share(99_999_999, 100_000_000) == "99.99 %"
    assert share(0, 0) == "–"
    assert [span(value) for value in (5, 300, 8_000, 200_000)] == ["5 s", "5 min", "2 h", "2 days"]


def test_every_change_of_state_has_a_sentence() -> None:
    from tenantcache.web.dashboard.pages import EVENTS

    states = {
        "counters": ["redis", "postgres"],
        "redis": ["answering", "failing", "gone", "refusing", "suspended"],
        "log": ["followed", "lost"],
        "memory": ["fresh", "unchecked"],
        "band": ["normal", "thrift", "no copies", "no Redis"],
    }
    assert set(EVENTS) == {(what, state) for what, found in states.items() for state in found}


class TestCounts:
    def test_refusals_are_told_by_their_reason(self) -> None:
        told = stats()
        told["refusals"].update({"unknown": 1, "foreign": 2, "suspended": 4, "maintenance": 8, "deleted": 16})
        told["refusals"]["malformed"] = 32
        counted = counts_of(told)
        assert (counted["unknown"], counted["closed"], counted["malformed"]) == (3, 28, 32)
