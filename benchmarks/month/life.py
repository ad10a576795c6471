"""A fleet's day in virtual time, request by request as far as that matters.

Requests that the fast path admits change one number, so they need not be drawn one by one. Of the requests that come
to a tenant in a process within a minute, only the first and those that find nothing leased are events. How many came
in between is drawn when it must be known. That is exact, since the requests of a Poisson process are independent. A
tenant that is not asked for costs nothing.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from random import Random

from benchmarks.month.bill import Answer, Answers, Bill, Day, Purpose
from benchmarks.month.counting import Counters, Taker
from benchmarks.month.draws import binomial, place_of, poisson
from benchmarks.month.fleets import Course
from benchmarks.month.stores import PROBE_COMMANDS, TICK, Stores
from tenantcache.ratelimit.core.reservation import Reservation
from tenantcache.ratelimit.core.windows import DAY, MINUTE, MINUTES_PER_DAY, MINUTES_PER_QUARTER, Window, minute_at
from tenantcache.tenant import Limits

COPY_LIFE = 3600.0
"""Seconds for which Redis keeps a tenant; `RedisCopies` spreads it by 10 %."""

LOOK_EVERY = 5
"""Seconds between looks for idle tokens: they go back up to four seconds later than those of a real process."""

Action = Callable[[float], None]


class Piece:
    """One tenant in one process: `waiting` requests to come before `mark`, one at it, and `rest` after it.

    `rest` is -1 until the first request of a minute has come. Requests that are waiting will be admitted by the lease.
    A `mark` at the minute's end is not a request.
    """

    __slots__ = ("last", "mark", "place", "reservation", "rest", "tenant", "version", "waiting")

    def __init__(self, tenant: int, place: int) -> None:
        self.tenant, self.place = tenant, place
        self.reservation: Reservation | None = None
        self.waiting, self.rest, self.version = 0, -1, 0
        self.last = self.mark = 0.0

    def remaining(self, end: float) -> int:
        return 0 if self.rest < 0 else self.waiting + (1 + self.rest if self.mark < end else 0)


class Life:
    """`rates` are requests a second on average, by tenant, and `limits` likewise.

    `warm_up`: a process finds all tenants in its memory when it starts, from one query, and takes their first tokens.
    """

    def __init__(
        self,
        rates: Sequence[float],
        limits: Sequence[Limits],
        processes: int,
        start: float,
        random: Random,
        course: Course,
        *,
        warm_up: bool,
    ) -> None:
        self.random, self.course, self.now = random, course, start
        self._rates, self.limits = [rate / processes for rate in rates], list(limits)
        self.answers = Answers()
        self.stores = Stores(start)
        self.counters = Counters(self.stores)
        self._warm_up = warm_up
        self._copies: dict[int, float] = {}  # when each tenant's copy in Redis ends
        self._serial = itertools.count()
        self._events: list[tuple[float, int, Piece | None, int | Action]] = []
        self._arrivals: dict[int, list[Piece]] = defaultdict(list)
        self._actions: dict[int, list[tuple[float, Action]]] = defaultdict(list)
        self._active: list[Piece] = []
        self._demand, self._admitted, self._refused = Counter[int](), Counter[int](), Counter[int]()
        self._demand_of_day, self._admitted_of_day = Counter[int](), Counter[int]()
        self._pieces = [[Piece(tenant, place) for tenant in range(len(rates))] for place in range(processes)]
        self._takers: list[Taker] = []
        self._memory: list[set[int]] = []
        self._changed: list[Piece] = []
        self._end = start
        self._loop = asyncio.new_event_loop()
        for place in range(processes):
            self._start(place)
            for piece in self._pieces[place]:
                self._await(piece, start)

    # What happens to the fleet.

    def ask_for(self, tenant: int, rate: float) -> None:
        """From now on, between two minutes, the tenant sends so many requests a second."""
        self._rates[tenant] = rate / len(self._pieces)
        for pieces in self._pieces:
            self._arrivals[minute_at(pieces[tenant].mark)].remove(pieces[tenant])
            self._await(pieces[tenant], self.now)

    def at(self, when: float, action: Action) -> None:
        self._actions[minute_at(when)].append((when, action))

    def _start(self, place: int) -> None:
        pieces, taker = self._pieces[place], self._make_taker(place)
        self._takers[place : place + 1] = [taker]
        self._memory[place : place + 1] = [set()]
        for piece in pieces:
            piece.reservation = taker.reservation(piece.tenant) if self._warm_up else None
        if self._warm_up:
            taker.warm()

    def _make_taker(self, place: int) -> Taker:
        pieces = self._pieces[place]
        return Taker(
            *(self.counters, self.limits, len(self._pieces), lambda: self.now, self._loop),
            before=lambda tenant: self._enter(pieces[tenant], self.now),
            after=lambda tenant: self._changed.append(pieces[tenant]),
        )

    def replace(self, place: int) -> Action:
        """A process stops in order, and a new one serves from then on."""

        def act(now: float) -> None:
            self._takers[place].stop()
            self._changed.clear()
            self._start(place)
            for piece in self._pieces[place]:
                if remaining := piece.remaining(self._end):
                    self._plan(piece, now, remaining)

        return act

    def deploy(self, start: float, interval: float) -> None:
        """Replace each process, one after the other."""
        for place in range(len(self._pieces)):
            self.at(start + place * interval, self.replace(place))

    def lose_redis(self, start: float, seconds: float, *, probes: bool = True) -> None:
        """Redis is unavailable for that long, and is empty when it comes back. `probes`: what finds that out is billed
        here."""

        def fall(now: float) -> None:
            self.stores.is_up = False
            self._push(now + TICK, look)

        def rise(now: float) -> None:
            self.stores.is_up = True
            self.counters.mirror(int(now // DAY))
            self.counters.lose()
            self._copies.clear()
            self.counters.bill.add(Purpose.PROBE, PROBE_COMMANDS * len(self._takers) * probes)

        def look(now: float) -> None:
            self.stores.look(now, lambda: self._hand_over(now))
            if not self.stores.is_settled or now < start + seconds:
                self._push(now + TICK, look)

        self.at(start, fall)
        self.at(start + seconds, rise)

    def _push(self, when: float, action: Action) -> None:
        if when < self._end:
            heapq.heappush(self._events, (when, next(self._serial), None, action))
        else:
            self.at(when, action)

    def _hand_over(self, now: float) -> None:
        self.counters.mirror(int(now // DAY))
        for taker in self._takers:
            for tenant, granted in taker.granted():
                if granted:
                    self.counters.count_in_postgres(tenant, Window("minute", minute_at(now)), granted)

    def close(self) -> None:
        self._loop.close()

    # Time.

    def run(self, end: float) -> Day:
        """Go on until `end`, a full minute; return what was billed and answered meanwhile."""
        day = Day(Bill(), Answers())
        self.counters.bill, self.answers = day.bill, day.answers
        for minute in range(minute_at(self.now), minute_at(end)):
            self._run_minute(minute)
        return day

    def _run_minute(self, minute: int) -> None:
        self._end = float((minute + 1) * MINUTE)
        serial = self._serial
        self._events = [(piece.mark, next(serial), piece, piece.version) for piece in self._arrivals.pop(minute, ())]
        self._events += [(float(minute * MINUTE + second), next(serial), None, self._look) for second in range(MINUTE)]
        self._events += [(when, next(serial), None, action) for when, action in self._actions.pop(minute, ())]
        heapq.heapify(self._events)
        while self._events:
            self.now, _, piece, what = heapq.heappop(self._events)
            if piece is None:
                assert callable(what)
                what(self.now)
            elif what == piece.version:
                self._serve(piece, self.now)
            else:
                continue
            if self._changed:
                self._follow_changes(self.now)
        self.now = self._end
        for piece in self._active:
            self._enter(piece, self._end)
            self._await(piece, self._end)
        self._active.clear()
        self._judge()
        if (minute + 1) % MINUTES_PER_DAY == 0:
            self._end_day()
        if (minute + 1) % MINUTES_PER_QUARTER == 0:
            self.counters.expire(self._end)

    def _look(self, now: float) -> None:
        """What processes do in the background."""
        self.stores.note_time(now)
        if now % LOOK_EVERY:
            return
        for taker in self._takers:
            taker.look()

    def _await(self, piece: Piece, now: float) -> None:
        """Draw when the next minute's first request comes."""
        piece.mark = self.course.after(now, self.random.expovariate(self._rates[piece.tenant]))
        piece.rest = -1
        self._arrivals[minute_at(piece.mark)].append(piece)

    # Requests.

    def _serve(self, piece: Piece, now: float) -> None:
        """A request that is an event."""
        tenant = piece.tenant
        if piece.rest < 0:
            rate = self._rates[tenant] * self.course.factor(now)
            piece.rest = poisson(self.random, rate * (self._end - now))
            self._active.append(piece)
            self._demand[tenant] += 1 + piece.rest
        self._enter(piece, now)
        self._admit(piece, now)
        if piece.rest:
            self._plan(piece, now, piece.rest)
        else:
            piece.mark = self._end

    def _admit(self, piece: Piece, now: float) -> None:
        tenant, reservation = piece.tenant, piece.reservation
        if reservation is None:
            self._look_up(piece.place, tenant, now)
            reservation = piece.reservation = self._takers[piece.place].reservation(tenant)
        if reservation.hot_until <= now < reservation.until:
            reservation.lend(reservation.until)
        if now < reservation.hot_until and reservation.left >= 1:
            reservation.left -= 1
            self._admitted[tenant] += 1
        else:
            self._count(tenant, self._takers[piece.place].ask(tenant))

    def _count(self, tenant: int, answer: Answer) -> None:
        match answer:
            case Answer.ADMITTED:
                self._admitted[tenant] += 1
            case Answer.REFUSED:
                self._refused[tenant] += 1
            case Answer.UNAVAILABLE:
                self.answers.unavailable += 1

    def _enter(self, piece: Piece, now: float) -> None:
        """Let the lease pay for what has come until `now`."""
        if piece.waiting and now > piece.last:
            assert piece.reservation is not None
            share = (now - piece.last) / (piece.mark - piece.last)
            came = piece.waiting if share >= 1 else binomial(self.random, piece.waiting, share)
            piece.reservation.left -= came
            piece.waiting -= came
            piece.last = now
            self._admitted[piece.tenant] += came

    def _plan(self, piece: Piece, now: float, requests: int) -> None:
        """So many requests come until the minute's end: the lease pays for the first ones, the next is an event."""
        left, reservation = 0, piece.reservation
        if reservation is not None and now < reservation.until:
            if now >= reservation.hot_until:
                reservation.lend(reservation.until)
            left = min(requests, reservation.left)
        piece.version += 1
        piece.waiting, piece.last = left, now
        if left == requests:
            piece.mark, piece.rest = self._end, 0
            return
        piece.mark = place_of(self.random, left + 1, requests, now, self._end)
        piece.rest = requests - left - 1
        heapq.heappush(self._events, (piece.mark, next(self._serial), piece, piece.version))

    def _follow_changes(self, now: float) -> None:
        """Reservations have changed: the lease must still pay for those that are waiting."""
        changed, self._changed = self._changed, []
        for piece in dict.fromkeys(changed):
            reservation = piece.reservation
            assert reservation is not None
            if reservation.watched:
                self._takers[piece.place].watch(piece.tenant)
            if not piece.waiting:
                continue
            if reservation.hot_until <= now < reservation.until:
                reservation.lend(reservation.until)
            if reservation.left < piece.waiting:
                self._plan(piece, now, piece.remaining(self._end))

    def _look_up(self, place: int, tenant: int, now: float) -> None:
        """A GET, and a SET if Redis has no copy. What is in memory is read again from Postgres, and stays."""
        if self._warm_up or tenant in self._memory[place] or not self.stores.is_up:
            return
        self._memory[place].add(tenant)
        self.counters.bill.add(Purpose.LOOKUP)
        if self._copies.get(tenant, 0.0) <= now:
            self.counters.bill.add(Purpose.FILL)
            self._copies[tenant] = now + COPY_LIFE * self.random.uniform(0.9, 1.0)

    # What became of them.

    def _judge(self) -> None:
        """Hold a minute's admissions against the limits."""
        answers = self.answers
        for tenant, demand in self._demand.items():
            per_minute, per_day = self.limits[tenant].per_minute, self.limits[tenant].per_day
            assert per_minute is not None and per_day is not None
            admitted = self._admitted[tenant]
            possible = min(demand, per_minute, max(0, per_day - self._admitted_of_day[tenant]))
            self._demand_of_day[tenant] += demand
            self._admitted_of_day[tenant] += admitted
            answers.requests += demand
            answers.admitted += admitted
            answers.over += max(0, admitted - per_minute)
            if demand <= per_minute and self._demand_of_day[tenant] <= per_day:
                answers.below += self._refused[tenant]
            else:
                answers.unused += max(0, possible - admitted)
        for counts in (self._demand, self._admitted, self._refused):
            counts.clear()

    def _end_day(self) -> None:
        for tenant, admitted in self._admitted_of_day.items():
            self.answers.over += max(0, admitted - (self.limits[tenant].per_day or 0))
        self._demand_of_day.clear()
        self._admitted_of_day.clear()
