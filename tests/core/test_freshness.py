"""The rules at the top of `core/freshness.py`, each by itself, and the theory as a property."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantcache.freshness.core.freshness import NEVER, Freshness, Question, State, watermark_of
from tenantcache.freshness.core.logmark import LogMark

EPOCH = "timeline-1"
ACME, ACME_HOST, ACME_DOMAIN = "acme", "subdomain:acme", "domain:shop.acme.io"
GLOBEX, GLOBEX_HOST = "globex", "subdomain:globex"


def mark(seq: int, *, lost: bool = False) -> LogMark:
    """An entry of the log, or another one of that number: from a timeline that a restore has undone."""
    return LogMark(seq, 1_735_689_600_000_000 + seq * 60_000_000 + (1 if lost else 0))


def following(
    *, applied: int = 0, tail_start: int = 0, stale_if_error: float = 0.0, max_floors: int = 100
) -> Freshness:
    """A process that has applied the log up to `applied` and knows the floors above `tail_start`."""
    freshness = Freshness(max_staleness=3.0, stale_if_error=stale_if_error, max_floors=max_floors)
    freshness.restart(EPOCH, mark(tail_start))
    for seq in range(tail_start + 1, applied + 1):
        freshness.apply(mark(seq), "another", ())
    return freshness


class TestDoubts:
    """A commit's notification names what has changed before the log does."""

    def test_it_holds_of_the_tenant_and_its_aliases(self) -> None:
        freshness = following(applied=1)
        assert freshness.doubts.note(ACME, (ACME_HOST,))
        assert freshness.doubts.hold(ACME_HOST, None)
        assert freshness.doubts.hold(ACME_DOMAIN, ACME)
        assert not freshness.doubts.hold(ACME_DOMAIN, None)
        assert not freshness.doubts.hold(GLOBEX_HOST, GLOBEX)

    def test_copies_and_absence_are_not_believed(self) -> None:
        freshness = following(applied=1)
        freshness.settle(freshness.question(1.0))
        assert freshness.accepts_shared(EPOCH, mark(1), ACME_HOST, ACME)
        assert freshness.accepts_absence(ACME_HOST)
        freshness.doubts.note(ACME, (ACME_HOST,))
        assert not freshness.accepts_shared(EPOCH, mark(1), ACME_HOST, ACME)
        assert not freshness.accepts_shared(EPOCH, mark(1), ACME_DOMAIN, ACME)
        assert not freshness.accepts_absence(ACME_HOST)
        assert freshness.accepts_shared(EPOCH, mark(1), GLOBEX_HOST, GLOBEX)

    def test_a_read_is_believed_if_it_was_asked_later(self) -> None:
        freshness = following(applied=1)
        early = freshness.question(1.0)
        freshness.doubts.note(ACME, (ACME_HOST,))
        late = freshness.question(1.0)
        for asked in (early, late):
            assert freshness.accepts_read(asked, mark(1), ACME_DOMAIN, ACME) is (asked is late)
            assert freshness.accepts_read(asked, mark(1), ACME_HOST, None) is (asked is late)
            assert freshness.accepts_read(asked, mark(1), GLOBEX_HOST, GLOBEX)

    def test_a_pull_that_was_asked_later_ends_it(self) -> None:
        freshness = following(applied=1)
        early = freshness.question(1.0)
        freshness.doubts.note(ACME, (ACME_HOST,))
        late = freshness.question(1.0)
        freshness.doubts.note(GLOBEX, (GLOBEX_HOST,))
        freshness.settle(early)
        assert freshness.doubts.hold(ACME_HOST, ACME)
        freshness.settle(late)
        assert not freshness.doubts.hold(ACME_HOST, ACME)
        assert freshness.doubts.hold(GLOBEX_HOST, GLOBEX)

    def test_nothing_is_proved_by_it(self) -> None:
        freshness = following(applied=1)
        freshness.extend(1.0)
        known = freshness.stats(1.0), freshness.newest_known, freshness.settled
        freshness.doubts.note(ACME, (ACME_HOST,))
        assert (freshness.stats(1.0), freshness.newest_known, freshness.settled) == known
        assert freshness.accepts(1, ACME_HOST, ACME), "no floor"

    def test_made_up_ones_are_bounded(self) -> None:
        freshness = following(applied=1)
        assert not freshness.doubts.note(ACME, [f"subdomain:t{number}" for number in range(8_000)])
        assert not freshness.doubts.hold("subdomain:t1", ACME)
        noted = [freshness.doubts.note(f"t{number}", ()) for number in range(1_000)]
        assert noted == [True] * 200 + [False] * 800
        freshness.settle(freshness.question(1.0))
        assert freshness.doubts.note(ACME, (ACME_HOST,))


class TestFloors:
    """A copy is current iff no entry after its `watermark` names its alias or its tenant."""

    def test_a_change_refuses_older_copies_of_its_alias(self) -> None:
        freshness = following()
        freshness.apply(mark(5), ACME, (ACME_HOST,))
        assert not freshness.accepts(4, ACME_HOST, None)
        assert freshness.accepts(5, ACME_HOST, None)

    def test_a_change_refuses_older_copies_of_its_tenant_under_any_alias(self) -> None:
        freshness = following()
        freshness.apply(mark(5), ACME, (ACME_HOST,))
        assert not freshness.accepts(4, ACME_DOMAIN, ACME)
        assert freshness.accepts(5, ACME_DOMAIN, ACME)

    def test_a_change_says_nothing_of_other_tenants(self) -> None:
        freshness = following()
        freshness.apply(mark(5), ACME, (ACME_HOST,))
        assert freshness.accepts(0, GLOBEX_HOST, GLOBEX)
        assert freshness.accepts(0, ACME_DOMAIN, None)

    def test_the_newest_change_counts(self) -> None:
        freshness = following()
        freshness.apply(mark(5), ACME, (ACME_HOST,))
        freshness.apply(mark(6), GLOBEX, (GLOBEX_HOST,))
        freshness.apply(mark(7), ACME, ())
        assert not freshness.accepts(6, ACME_HOST, ACME)
        assert freshness.accepts(5, ACME_HOST, None)
        assert freshness.applied == 7

    def test_a_domain_that_moved_refuses_both_sides(self) -> None:
        freshness = following()
        freshness.apply(mark(5), GLOBEX, (ACME_DOMAIN,))
        freshness.apply(mark(6), ACME, (ACME_DOMAIN,))
        assert not freshness.accepts(4, ACME_DOMAIN, ACME)
        assert not freshness.accepts(4, ACME_HOST, ACME)
        assert not freshness.accepts(4, GLOBEX_HOST, GLOBEX)
        assert not freshness.accepts(4, ACME_DOMAIN, None)

    def test_an_entry_that_names_no_tenant_refuses_everything_older(self) -> None:
        freshness = following()
        freshness.collapse(mark(5))
        assert not freshness.accepts(4, GLOBEX_HOST, GLOBEX)
        assert freshness.accepts(5, GLOBEX_HOST, GLOBEX)

    def test_everything_before_the_tail_is_refused(self) -> None:
        freshness = following(applied=9, tail_start=6)
        assert not freshness.accepts(5, GLOBEX_HOST, GLOBEX)
        assert freshness.accepts(6, GLOBEX_HOST, GLOBEX)

    def test_a_collapse_stands_for_all_floors(self) -> None:
        freshness = following()
        freshness.apply(mark(5), ACME, (ACME_HOST,))
        freshness.collapse(mark(9))
        assert freshness.applied == 9
        assert not freshness.accepts(8, GLOBEX_HOST, GLOBEX)
        assert freshness.accepts(9, ACME_HOST, ACME)

    def test_floors_are_bounded_and_forgetting_them_refuses_more(self) -> None:
        freshness = following(max_floors=4)
        for seq in range(1, 50):
            freshness.apply(mark(seq), f"t{seq}", (f"subdomain:t{seq}",))
        assert len(freshness._alias_floors) + len(freshness._tenant_floors) <= 4
        assert freshness.applied == 49
        for seq in range(1, 50):
            assert not freshness.accepts(seq - 1, f"subdomain:t{seq}", f"t{seq}")
        assert freshness.accepts(49, "subdomain:t1", "t1")

    def test_floors_of_what_reads_have_seen_are_bounded_too(self) -> None:
        # Without a follower every read is ahead of the log, and any client can ask for made-up hosts.
        freshness = following(applied=1, max_floors=4)
        for number in range(50):
            freshness.observe(mark(5), None, f"domain:made-up-{number}.example")
        assert len(freshness._alias_floors) + len(freshness._tenant_floors) <= 4
        assert freshness.applied == 1
        assert not freshness.accepts(4, "domain:made-up-0.example", None)
        assert freshness.accepts(5, "domain:made-up-0.example", None)


class TestRule1:
    def test_memory_is_not_valid_before_the_first_pull(self) -> None:
        assert not following().is_valid(0.0)

    def test_a_pull_counts_from_when_it_was_sent(self) -> None:
        freshness = following()
        freshness.extend(sent_at=10.0)
        assert freshness.is_valid(12.999)
        assert not freshness.is_valid(13.0)

    def test_a_pull_that_was_sent_earlier_takes_nothing_back(self) -> None:
        freshness = following()
        freshness.extend(sent_at=10.0)
        freshness.extend(sent_at=9.0)
        assert freshness.is_valid(12.999)

    def test_a_pull_makes_every_entry_valid(self) -> None:
        freshness = following()
        freshness.extend(sent_at=10.0)
        assert freshness.state(12.999, 0, read_sent_at=1.0) is State.VALID
        assert freshness.state(12.999, 0, NEVER) is State.VALID
        assert freshness.state(13.0, 0, NEVER) is State.REFUSED


class TestRule2:
    def test_a_direct_read_makes_its_own_entry_valid(self) -> None:
        freshness = following()
        assert freshness.state(12.999, 0, read_sent_at=10.0) is State.VALID
        assert freshness.state(13.0, 0, read_sent_at=10.0) is State.REFUSED
        assert not freshness.is_valid(10.0)

    def test_the_log_does_not_vouch_for_what_it_has_not_come_to(self) -> None:
        freshness = following(applied=9)
        freshness.extend(sent_at=10.0)
        assert freshness.state(12.0, 9, read_sent_at=8.0) is State.VALID
        assert freshness.state(12.0, 10, read_sent_at=8.0) is State.REFUSED
        freshness.apply(mark(10), ACME, ())
        assert freshness.state(12.0, 10, read_sent_at=8.0) is State.VALID

    def test_the_later_of_pull_and_read_counts(self) -> None:
        freshness = following()
        freshness.extend(sent_at=10.0)
        assert freshness.until(0, read_sent_at=8.0) == 13.0
        assert freshness.until(0, read_sent_at=11.0) == 14.0


class TestRule3:
    @pytest.mark.parametrize(
        ("now", "expected"),
        [
            (12.999, State.VALID),
            (13.0, State.LAPSED),
            (312.999, State.LAPSED),
            (313.0, State.REFUSED),
        ],
    )
    def test_a_lapsed_entry_is_refused_in_the_end(self, now: float, expected: State) -> None:
        freshness = following(stale_if_error=300.0)
        freshness.extend(sent_at=10.0)
        assert freshness.state(now, 0, NEVER) is expected

    def test_a_pull_revives_what_had_lapsed(self) -> None:
        freshness = following(stale_if_error=300.0)
        freshness.extend(sent_at=10.0)
        freshness.extend(sent_at=100.0)
        assert freshness.state(102.0, 0, NEVER) is State.VALID


class TestRule4:
    def test_a_shared_copy_of_this_timeline_up_to_what_was_applied(self) -> None:
        freshness = following(applied=9)
        assert freshness.accepts_shared(EPOCH, mark(9), ACME_HOST, ACME)

    def test_not_one_from_the_future(self) -> None:
        freshness = following(applied=9)
        assert not freshness.accepts_shared(EPOCH, mark(10), ACME_HOST, ACME)

    def test_not_one_of_another_timeline(self) -> None:
        freshness = following(applied=9)
        assert not freshness.accepts_shared("timeline-0", mark(9), ACME_HOST, ACME)

    def test_not_one_that_missed_a_change(self) -> None:
        freshness = following(applied=9)
        freshness.apply(mark(10), ACME, ())
        assert not freshness.accepts_shared(EPOCH, mark(9), ACME_HOST, ACME)
        assert freshness.accepts_shared(EPOCH, mark(10), ACME_HOST, ACME)

    def test_not_one_from_a_future_that_was_lost_though_its_number_was_given_again(self) -> None:
        freshness = following(applied=9)
        assert not freshness.accepts_shared(EPOCH, mark(9, lost=True), ACME_HOST, ACME)

    def test_not_one_whose_entry_is_forgotten(self) -> None:
        freshness = following(applied=9, max_floors=4)
        assert freshness.accepts_shared(EPOCH, mark(6), ACME_HOST, ACME)
        assert not freshness.accepts_shared(EPOCH, mark(5), ACME_HOST, ACME)

    def test_nothing_before_the_timeline_is_known(self) -> None:
        freshness = Freshness(max_staleness=3.0, stale_if_error=0.0)
        assert not freshness.accepts_shared(EPOCH, mark(0), ACME_HOST, ACME)


class TestRule5:
    def test_another_timeline_forgets_everything(self) -> None:
        freshness = following(stale_if_error=300.0)
        freshness.apply(mark(5), ACME, (ACME_HOST,))
        freshness.observe(mark(8), GLOBEX, GLOBEX_HOST)
        freshness.extend(sent_at=10.0)
        freshness.restart("timeline-2", mark(1))
        assert freshness.epoch == "timeline-2"
        assert not freshness.is_valid(10.0)
        assert freshness.accepts(1, ACME_HOST, ACME)
        assert freshness.accepts(1, GLOBEX_HOST, GLOBEX)
        assert not freshness.accepts(0, GLOBEX_HOST, GLOBEX)
        freshness.collapse(mark(3))
        assert freshness.tail_start == 3


class TestRule5OfAnswers:
    def test_an_answer_of_this_generation_that_came_in_time(self) -> None:
        freshness = following(applied=9)
        asked = freshness.question(10.0)
        assert freshness.believes(asked, 12.999, EPOCH, mark(9))
        assert freshness.believes(asked, 12.999, EPOCH, mark(10))
        assert not freshness.believes(asked, 13.0, EPOCH, mark(9))
        assert freshness.generation == asked.generation

    def test_an_answer_to_a_question_of_an_earlier_generation(self) -> None:
        freshness = following(applied=9)
        asked = freshness.question(10.0)
        freshness.restart(EPOCH, mark(9))
        assert not freshness.believes(asked, 10.0, EPOCH, mark(9))
        assert freshness.believes(freshness.question(10.0), 10.0, EPOCH, mark(9))

    def test_another_epoch(self) -> None:
        freshness = following(applied=9)
        asked = freshness.question(10.0)
        assert freshness.believes(asked, 10.0, "timeline-2", mark(12))
        assert (freshness.epoch, freshness.applied, freshness.generation) == ("timeline-2", 12, asked.generation + 1)

    def test_a_log_that_ends_before_what_was_known_when_it_was_asked(self) -> None:
        freshness = following(applied=8)
        freshness.observe(mark(9), ACME, ACME_HOST)
        asked = freshness.question(10.0)
        assert freshness.believes(asked, 10.0, EPOCH, mark(9))
        assert freshness.generation == asked.generation
        assert freshness.believes(asked, 10.0, EPOCH, mark(8))
        assert (freshness.applied, freshness.generation) == (8, asked.generation + 1)
        assert freshness.accepts(8, ACME_HOST, ACME)

    def test_what_became_known_after_it_was_asked_proves_nothing(self) -> None:
        freshness = following(applied=8)
        asked = freshness.question(10.0)
        freshness.apply(mark(9), ACME, ())
        assert freshness.believes(asked, 10.0, EPOCH, mark(8))
        assert freshness.generation == asked.generation

    def test_another_entry_of_a_number_that_was_applied(self) -> None:
        freshness = following(applied=9)
        freshness.extend(sent_at=10.0)
        asked = freshness.question(10.0)
        assert not freshness.believes(asked, 10.0, EPOCH, mark(9, lost=True))
        assert freshness.generation == asked.generation + 1
        assert not freshness.is_valid(10.0)
        assert not freshness.accepts_shared(EPOCH, mark(9), ACME_HOST, ACME)

    def test_another_entry_of_a_number_that_was_seen(self) -> None:
        freshness = following(applied=8)
        freshness.observe(mark(9), ACME, ACME_HOST)
        assert not freshness.believes(freshness.question(10.0), 10.0, EPOCH, mark(9, lost=True))

    def test_an_answer_whose_entry_is_forgotten_is_not_accepted(self) -> None:
        freshness = following(applied=9, max_floors=4)
        asked = freshness.question(10.0)
        assert freshness.accepts_read(asked, mark(6), ACME_HOST, None)
        assert not freshness.accepts_read(asked, mark(5), ACME_HOST, None)


class TestRule5OfPulls:
    """The newest entry that a direct read has seen must turn up in the log."""

    def test_it_is_there(self) -> None:
        freshness, asked = self.ahead()
        assert freshness.agrees(asked, mark(9), [mark(8), mark(9)])

    def test_it_comes_with_a_later_page(self) -> None:
        freshness, asked = self.ahead()
        assert freshness.agrees(asked, mark(12), [mark(8)])

    @pytest.mark.parametrize("entries", [[mark(8), mark(9, lost=True)], [mark(8), mark(10)]])
    def test_another_one_or_none_is_in_its_place(self, entries: list[LogMark]) -> None:
        freshness, asked = self.ahead()
        assert not freshness.agrees(asked, mark(10), entries)

    def test_the_log_ends_before_it(self) -> None:
        freshness, asked = self.ahead()
        assert not freshness.agrees(asked, mark(8), [mark(8)])

    def test_the_log_ended_before_it_when_it_was_not_yet_seen(self) -> None:
        freshness = following(applied=7)
        asked = freshness.question(10.0)
        freshness.observe(mark(9), ACME, ACME_HOST)
        assert freshness.agrees(asked, mark(8), [mark(8)])

    def test_once_applied_it_is_asked_for_no_more(self) -> None:
        freshness, _ = self.ahead()
        for seq in (8, 9, 10):
            freshness.apply(mark(seq), GLOBEX, ())
        assert freshness.agrees(freshness.question(11.0), mark(10), [])
        assert freshness.newest_known == 10

    @staticmethod
    def ahead() -> tuple[Freshness, Question]:
        freshness = following(applied=7)
        freshness.observe(mark(9), ACME, ACME_HOST)
        return freshness, freshness.question(10.0)


class TestRule6:
    def test_what_a_read_has_seen_is_never_gone_behind(self) -> None:
        freshness = following(applied=3)
        freshness.observe(mark(7), ACME, ACME_HOST)
        assert not freshness.accepts(6, ACME_HOST, None)
        assert not freshness.accepts(6, ACME_DOMAIN, ACME)
        assert freshness.accepts(7, ACME_DOMAIN, ACME)
        assert freshness.applied == 3

    def test_a_host_that_was_absent_counts_by_its_alias(self) -> None:
        freshness = following(applied=3)
        freshness.observe(mark(7), None, ACME_HOST)
        assert not freshness.accepts(6, ACME_HOST, ACME)
        assert freshness.accepts(6, GLOBEX_HOST, GLOBEX)

    def test_a_read_within_the_applied_log_raises_nothing(self) -> None:
        # Every change up to there has its floor already, and an older copy may be just as true.
        freshness = following(applied=9)
        freshness.observe(mark(9), ACME, ACME_HOST)
        assert freshness.accepts(4, ACME_HOST, ACME)

    def test_a_late_entry_does_not_lower_a_floor(self) -> None:
        freshness = following(applied=3)
        freshness.observe(mark(7), ACME, ACME_HOST)
        freshness.apply(mark(5), ACME, (ACME_HOST,))
        assert not freshness.accepts(6, ACME_HOST, ACME)

    def test_a_collapse_remembers_what_was_seen(self) -> None:
        freshness = following(applied=3)
        freshness.observe(mark(7), ACME, ACME_HOST)
        freshness.collapse(mark(5))
        assert not freshness.accepts(6, ACME_HOST, ACME)
        assert freshness.accepts(7, ACME_HOST, ACME)


class TestRule7:
    """What a pending read has seen has no number of its own yet."""

    def test_it_is_newer_than_its_entry_and_older_than_the_next(self) -> None:
        freshness, asked = self.asked()
        freshness.observe(mark(3), ACME, ACME_HOST, pending=True)
        assert watermark_of(mark(3), pending=True) == 3.5
        assert not freshness.accepts(3, ACME_HOST, None)
        assert not freshness.accepts(3, ACME_DOMAIN, ACME)
        assert not freshness.accepts_shared(EPOCH, mark(3), ACME_HOST, ACME)
        assert not freshness.accepts_read(asked, mark(3), ACME_HOST, ACME)
        assert freshness.accepts(4, ACME_HOST, ACME)
        assert freshness.accepts(3, GLOBEX_HOST, GLOBEX)

    def test_the_log_never_vouches_for_it(self) -> None:
        freshness, _ = self.asked()
        freshness.apply(mark(4), GLOBEX, ())
        freshness.extend(sent_at=10.0)
        assert freshness.state(12.0, 3.5, read_sent_at=8.0) is State.REFUSED
        assert freshness.state(12.0, 3.5, read_sent_at=9.5) is State.VALID
        assert [freshness.vouches_for(watermark) for watermark in (3, 3.5, 4, 4.5, 5)] == [
            True,
            False,
            True,
            False,
            False,
        ]

    @pytest.mark.parametrize("pending", [False, True])
    def test_another_of_the_same_names_follows_if_it_was_asked_after_that_answer(self, pending: bool) -> None:
        freshness, early = self.asked()
        freshness.believes(freshness.question(1.0), 1.0, EPOCH, mark(3), pending=True)
        freshness.observe(mark(3), ACME, ACME_HOST, pending=True)
        late = freshness.question(1.0)
        for asked in (early, late):
            assert freshness.believes(asked, 1.0, EPOCH, mark(3), pending=True)
            assert freshness.accepts_read(asked, mark(3), ACME_DOMAIN, ACME, pending=True) is (asked is late)
            assert freshness.accepts_read(asked, mark(3), GLOBEX_HOST, GLOBEX, pending=True)
            assert freshness.accepts_read(asked, mark(4), ACME_DOMAIN, ACME, pending=pending)

    def test_so_does_one_with_a_part_of_that_published(self) -> None:
        """The part that was seen is not applied with it."""
        freshness, early = self.asked()
        other = freshness.question(1.0)
        freshness.apply(mark(4), GLOBEX, ())
        freshness.believes(other, 1.0, EPOCH, mark(3), pending=True)
        freshness.observe(mark(3), ACME, ACME_HOST, pending=True)
        freshness.believes(early, 1.0, EPOCH, mark(3), pending=True)
        assert not freshness.accepts_read(early, mark(3), ACME_HOST, ACME, pending=True)

    def test_one_answer_may_hold_a_tenant_twice(self) -> None:
        freshness, asked = self.asked()
        freshness.believes(asked, 1.0, EPOCH, mark(3), pending=True)
        freshness.observe(mark(3), ACME, ACME_HOST, pending=True)
        assert freshness.accepts_read(asked, mark(3), ACME_DOMAIN, ACME, pending=True)

    def test_when_floors_are_forgotten_those_asked_before_are_refused(self) -> None:
        freshness = following(applied=3, max_floors=2)
        early = freshness.question(1.0)
        for host, tenant in ((ACME_HOST, ACME), (GLOBEX_HOST, GLOBEX)):
            freshness.believes(freshness.question(1.0), 1.0, EPOCH, mark(3), pending=True)
            freshness.observe(mark(3), tenant, host, pending=True)
        assert freshness.tail_start == 3.5
        late = freshness.question(1.0)
        for asked in (early, late):
            freshness.believes(asked, 1.0, EPOCH, mark(3), pending=True)
            assert freshness.accepts_read(asked, mark(3), ACME_HOST, ACME, pending=True) is (asked is late)

    def test_an_index_may_lack_it_until_nothing_is_pending(self) -> None:
        freshness, asked = self.asked()
        freshness.settle(asked)
        assert freshness.accepts(freshness.settled, ACME_HOST, None)
        freshness.observe(mark(3), ACME, ACME_HOST, pending=True)
        freshness.apply(mark(4), GLOBEX, ())
        assert not freshness.accepts(freshness.settled, ACME_HOST, None)
        freshness.settle(asked)
        assert freshness.accepts(freshness.settled, ACME_HOST, None)
        freshness.lose()
        assert freshness.settled == 0

    def test_it_must_be_published(self) -> None:
        """Or else a backup was restored, or a crash has undone it."""
        freshness, _ = self.asked()
        freshness.observe(mark(3), ACME, ACME_HOST, pending=True)
        assert freshness.newest_known == 3.5
        asked = freshness.question(1.0)
        assert freshness.agrees(asked, mark(3), [], pending=True)
        assert freshness.agrees(asked, mark(4), [mark(4)])
        assert not freshness.agrees(asked, mark(3), [])
        assert freshness.believes(asked, 1.0, EPOCH, mark(3))
        assert freshness.generation == asked.generation + 1
        assert freshness.newest_known == 3

    def test_a_pull_that_was_sent_before_need_not_know_of_it(self) -> None:
        freshness, asked = self.asked()
        freshness.observe(mark(3), ACME, ACME_HOST, pending=True)
        assert freshness.agrees(asked, mark(3), [])

    def test_its_entry_must_turn_up_too(self) -> None:
        freshness, _ = self.asked()
        freshness.observe(mark(5), ACME, ACME_HOST, pending=True)
        asked = freshness.question(1.0)
        assert freshness.agrees(asked, mark(6), [mark(4), mark(5), mark(6)])
        assert not freshness.agrees(asked, mark(6), [mark(4), mark(5, lost=True), mark(6)])

    @staticmethod
    def asked() -> tuple[Freshness, Question]:
        freshness = following(applied=3)
        return freshness, freshness.question(0.5)


names = st.integers(0, 3)
entries = st.lists(st.one_of(st.none(), st.tuples(names, st.lists(names, max_size=2))), max_size=12)


@given(entries=entries, start=st.integers(0, 12), watermark=st.integers(0, 12), alias=names, tenant=st.none() | names)
def test_accepts_says_whether_a_copy_missed_a_change(
    entries: list[tuple[int, list[int]] | None], start: int, watermark: int, alias: int, tenant: int | None
) -> None:
    freshness = following(applied=start, tail_start=start)
    missed = watermark < start
    for seq, entry in enumerate(entries, start=1):
        if seq <= start:
            continue
        if entry is None:
            freshness.collapse(mark(seq))
        else:
            freshness.apply(mark(seq), str(entry[0]), [f"a{name}" for name in entry[1]])
        names_it = entry is None or entry[0] == tenant or alias in entry[1]
        missed = missed or (seq > watermark and names_it)
    assert freshness.accepts(watermark, f"a{alias}", None if tenant is None else str(tenant)) is not missed


@given(
    writes=st.lists(st.tuples(st.integers(1, 3), st.booleans()), max_size=12),
    moments=st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), min_size=2, max_size=6),
)
def test_reads_that_are_accepted_one_after_the_other_never_go_back(
    writes: list[tuple[int, bool]], moments: list[tuple[int, int]]
) -> None:
    """One alias, written now and then, in a log that is published in portions.

    `moments`: when the server sees each read, and how long the answer then is on its way.
    """
    # What the server would answer at each step: the version of the alias, the newest entry, and whether more is pending
    version, head, pending, steps = 0, 1, 0, [(0, 1, False)]
    for portion, is_write in writes:
        if is_write:
            version, pending = version + 1, pending + 1
        else:
            published = min(portion, pending)
            head, pending = head + published, pending - published
        steps.append((version, head, pending > 0))
    freshness = following(applied=1, tail_start=1)
    events = sorted((at + late, at, number) for number, (at, late) in enumerate(moments))
    asked = {number: freshness.question(0.0) for number in range(len(moments))}
    held = -1
    for _, at, number in events:
        seen, head, is_pending = steps[min(at, len(steps) - 1)]
        assert freshness.believes(asked[number], 0.0, EPOCH, mark(head), pending=is_pending)
        if freshness.accepts_read(asked[number], mark(head), ACME_HOST, ACME, pending=is_pending):
            assert seen >= held
            held = seen
            freshness.observe(mark(head), ACME, ACME_HOST, pending=is_pending)
