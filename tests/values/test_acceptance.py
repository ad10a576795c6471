"""Each rule of `values/core/acceptance.py` by itself, and what `values/core/floors.py` is for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tenantcache.freshness.core.freshness import NEVER, Freshness
from tenantcache.freshness.core.logmark import LogMark
from tenantcache.values.core.acceptance import Acceptance, Entry, Seen, State
from tenantcache.values.core.codec import JsonCodec
from tenantcache.values.core.floors import Floors
from tenantcache.values.core.lifetime import Lifetime
from tenantcache.values.core.stored import Stored

BOUND = 3.0
STALE_IF_ERROR = 300.0
NAME, TAG, OTHER = "value:acme:a", "tag:acme:t", "value:acme:b"


def mark(seq: int) -> LogMark:
    return LogMark(seq, seq * 1_000)


class Known:
    """What a process knows at time 0: the log up to entry 5, which a pull sent at time 0 has proved."""

    def __init__(self, max_floors: int = 100) -> None:
        self.freshness = Freshness(max_staleness=BOUND, stale_if_error=STALE_IF_ERROR)
        self.floors = Floors(max_floors)
        self.acceptance = Acceptance(self.freshness, self.floors)
        self.freshness.restart("epoch", mark(1))
        for seq in range(2, 6):
            self.freshness.pass_over(mark(seq))
        self.freshness.extend(0.0)

    def name(self, *names: str) -> int:
        """The next entry of the log names these."""
        seq = self.freshness.applied + 1
        self.freshness.pass_over(mark(seq))
        self.floors.raise_to(seq, names)
        return seq

    def doubt(self, *names: str) -> None:
        assert self.freshness.doubts.note("", names)
        self.floors.doubt()

    def entry(self, seen: Seen | None = None, **changed: Any) -> Entry:
        """Loaded at time 0, with a tag; kept for an hour, and due after half of it."""
        seen = self.acceptance.note() if seen is None else seen
        entry = Entry(
            value="x",
            body=None,
            codec=JsonCodec(),
            seen=seen,
            names=(NAME, TAG),
            expiries=("expire:acme:t",),
            tags=("t",),
            read_at=0.0,
            loaded_at=0.0,
            good_until=1_800.0,
            fresh_until=3_000.0,
            end=3_600.0,
            tier="loader",
            size=1,
            current_as_of=seen.seq,
        )
        return replace(entry, **changed)

    def state(self, entry: Entry, now: float = 1.0) -> State:
        return self.acceptance.state(entry, now)


@pytest.fixture
def known() -> Known:
    return Known()


class TestRule1:
    """Of a copy that was loaded here."""

    @pytest.mark.parametrize("name", [NAME, TAG])
    def test_a_change_of_one_of_its_names_refuses_it(self, known: Known, name: str) -> None:
        before = known.entry()
        known.name(name)
        assert known.state(before) is State.REFUSED
        assert known.state(known.entry()) is State.FRESH

    def test_a_change_of_another_name_does_not(self, known: Known) -> None:
        entry = known.entry()
        known.name(OTHER)
        assert known.state(entry) is State.FRESH

    def test_one_of_another_generation_is_refused(self, known: Known) -> None:
        """The numbers of a timeline that a backup has undone are given again, so that none of them says anything."""
        entry = known.entry()
        assert known.state(entry) is State.FRESH
        known.freshness.restart("restored", mark(3))
        assert known.state(entry) is State.REFUSED, "before what is in memory is dropped"
        known.floors.restart(known.freshness.tail_start)
        assert not known.acceptance.accepts(entry.seen, entry.names), "nor a load that was under way"

    @pytest.mark.parametrize("name", [NAME, TAG])
    def test_one_that_is_doubted_is_refused_until_it_is_loaded_again(self, known: Known, name: str) -> None:
        before = known.entry()
        known.doubt(name)
        assert known.state(before) is State.REFUSED
        assert known.state(known.entry()) is State.FRESH, "what is loaded after the doubt has seen the change"

    def test_a_doubt_is_of_what_it_names_alone(self, known: Known) -> None:
        entry = known.entry()
        known.doubt(OTHER)
        assert known.state(entry) is State.FRESH

    def test_one_that_is_tested_now_and_then_outlives_the_floors_that_it_was_tested_with(self) -> None:
        known = Known(max_floors=4)
        asked_for, forgotten = known.entry(), known.entry()
        for number in range(20):
            known.name(f"value:acme:{number}")
            assert known.state(asked_for) is State.FRESH
        assert known.state(forgotten) is State.REFUSED
        known.name(TAG)
        assert known.state(asked_for) is State.REFUSED

    def test_one_that_was_tested_is_not_tested_again_while_nothing_changes(self, known: Known) -> None:
        """A hit looks at `checked` alone."""
        entry = known.entry()
        known.name(OTHER)
        known.state(entry)
        assert entry.checked == known.floors.version
        known.name(OTHER)
        assert entry.checked != known.floors.version


class TestRule1ForRedis:
    """Of a copy that another process has made."""

    def believes(self, known: Known, now: float = 1.0, **changed: Any) -> bool:
        stored = Stored("epoch", mark(4), 0.0, Lifetime(60), ("t",), b"1")
        return known.acceptance.believes(replace(stored, **changed), (NAME, TAG), now)

    def test_it_may_be_believed(self, known: Known) -> None:
        assert self.believes(known)

    def test_not_once_the_log_vouches_for_memory_no_more(self, known: Known) -> None:
        """What is not known to have changed may have."""
        assert not self.believes(known, BOUND)

    def test_not_of_another_epoch(self, known: Known) -> None:
        assert not self.believes(known, epoch="restored")

    def test_not_if_its_entry_is_not_the_one_in_the_log(self, known: Known) -> None:
        assert not self.believes(known, mark=LogMark(4, 4_001)), "another one of that number"
        assert not self.believes(known, mark=mark(6)), "one that is not applied yet"

    @pytest.mark.parametrize("name", [NAME, TAG])
    def test_not_from_below_a_floor(self, known: Known, name: str) -> None:
        seq = known.name(name)
        assert not self.believes(known)
        assert self.believes(known, mark=mark(seq))

    @pytest.mark.parametrize("name", [NAME, TAG])
    def test_not_while_it_is_doubted(self, known: Known, name: str) -> None:
        """Nothing tells whether it was loaded before the change or after."""
        known.doubt(name)
        assert not self.believes(known)
        known.freshness.doubts.settle(known.freshness.doubts.noted)
        assert self.believes(known)

    def test_a_doubt_is_of_what_it_names_alone(self, known: Known) -> None:
        known.doubt(OTHER)
        assert self.believes(known)


class TestRule2:
    """What vouches for a copy in memory."""

    def test_the_log_does(self, known: Known) -> None:
        entry = known.entry(read_at=NEVER)
        assert known.state(entry, BOUND - 0.1) is State.FRESH
        known.freshness.extend(BOUND)
        assert known.state(entry, BOUND + 0.1) is State.FRESH

    def test_its_own_load_does_from_its_beginning(self, known: Known) -> None:
        entry = known.entry(read_at=2.0)
        assert known.state(entry, BOUND + 1.9) is State.FRESH
        assert known.state(entry, BOUND + 2.0) is State.LAPSED

    def test_a_copy_from_redis_has_no_load_of_its_own(self, known: Known) -> None:
        assert known.state(known.entry(read_at=NEVER), BOUND) is State.LAPSED

    def test_what_has_lapsed_is_refused_in_the_end(self, known: Known) -> None:
        entry = known.entry()
        assert known.state(entry, BOUND + STALE_IF_ERROR - 0.1) is State.LAPSED
        assert known.state(entry, BOUND + STALE_IF_ERROR) is State.REFUSED

    def test_nothing_vouches_for_a_copy_while_no_timeline_is_known(self, known: Known) -> None:
        known.freshness.lose()
        assert known.state(known.entry(read_at=NEVER)) is State.REFUSED


def test_rule_3_the_log_does_not_vouch_for_what_a_caller_has_set(known: Known) -> None:
    entry = known.entry(is_set=True)
    known.freshness.extend(10.0)
    assert known.state(entry, BOUND - 0.1) is State.FRESH
    assert known.state(entry, BOUND) is State.LAPSED


class TestTime:
    """A lifetime, and what an expiry makes of it."""

    @pytest.mark.parametrize(
        ("now", "state"),
        [(1_799.0, State.FRESH), (1_800.0, State.EARLY), (3_000.0, State.STALE), (3_600.0, State.REFUSED)],
    )
    def test_it_becomes_due_then_stale_then_ends(self, known: Known, now: float, state: State) -> None:
        known.freshness.extend(now)
        assert known.state(known.entry(), now) is state

    def test_an_expiry_of_its_tag_makes_it_stale(self, known: Known) -> None:
        before = known.entry()
        seq = known.name("expire:acme:t")
        assert known.state(before) is State.STALE
        assert known.state(known.entry()) is State.FRESH
        assert known.acceptance.is_expired(seq - 1, ["expire:acme:t"])
        assert not known.acceptance.is_expired(seq, ["expire:acme:t"])
