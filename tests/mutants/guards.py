"""Every guard of the freshness protocol, and those of handing a minute over, and how to take it away.

A mutant is a piece of text that is replaced in a copy of the package. `suites` are those that may kill it; a guard of
the database itself can only be missed by tests on a real one. `quick` names the tests that are enough to kill it in a
short run, for the guards that everything else rests on.
"""

from __future__ import annotations

from dataclasses import dataclass

SUITES = {
    "rules": ["tests/core/test_freshness.py"],
    "units": [
        "tests/test_resolver.py",
        "tests/test_resolver_races.py",
        "tests/test_follower.py",
        "tests/test_engine_races.py",
    ],
    "orders": ["tests/freshness/test_exhaustive.py"],
    "storms": ["tests/freshness/test_storms.py"],
    "machine": ["tests/freshness/test_machine.py"],
    "index": ["tests/test_indexer.py"],
    "web": ["tests/test_middleware.py"],
    "postgres": [
        "tests/stores/test_schema.py",
        "tests/stores/test_postgres.py",
        "tests/stores/test_postgres_links.py",
        "tests/test_restore.py",
    ],
    "counters": ["tests/test_fleetcounters.py"],
    "handing over": ["tests/core/test_storechoice_fleet.py", "tests/stores/test_choices.py"],
}
WHAT_SUITES_DO = {
    "rules": "each rule of `core/freshness.py` by itself, and its theory as a property (Hypothesis)",
    "units": "resolver, follower and engine, with each message held back for as long as the test wants",
    "orders": "every interleaving of a fill and one or two updates between two processes (up to a bound, and all of "
    "those with one update)",
    "storms": "700 seeds of random schedules with faults, on the simulated network",
    "machine": "the same as a Hypothesis state machine, which looks for the shortest story",
    "index": "the index of known hosts on a real Postgres",
    "web": "the middleware, called as a server calls it",
    "postgres": "the schema and the two stores on a real Postgres, and a storage snapshot that is put back",
    "counters": "the shell around the choice of a counter store, on a fake clock",
    "handing over": "fleets that hand minutes over in virtual time, with faults, and the same on a real Postgres",
}
PROTOCOL = ("rules", "units", "orders", "storms", "machine")
SCHEMA = ("postgres",)
WEB = ("web",)
COUNTERS = ("counters",)
HANDING_OVER = ("handing over",)
ON_COUNTERS = "tests/test_fleetcounters.py::"
RULES = ("tests/core/test_freshness.py",)
UNITS = ("tests/test_follower.py", "tests/test_resolver.py", "tests/test_resolver_races.py")
ON_SCHEMA = "tests/stores/test_schema.py::"

FRESHNESS = "tenantcache/core/freshness.py"
FOLLOWER = "tenantcache/follower.py"
RESOLVER = "tenantcache/resolver.py"
STORE = "tenantcache/stores/postgres.py"
INDEXER = "tenantcache/indexer.py"
MIDDLEWARE = "tenantcache/web/middleware.py"
ENGINE = "tenantcache/engine.py"
FLEET_COUNTERS = "tenantcache/fleetcounters.py"
STORE_CHOICE = "tenantcache/core/storechoice.py"
HANDOVER = "tenantcache/core/handover.py"
SQL = "tenantcache/stores/schema.sql"


@dataclass(frozen=True)
class Mutant:
    """`old` occurs exactly once in `path`."""

    guard: str
    path: str
    old: str
    new: str
    suites: tuple[str, ...] = PROTOCOL
    quick: tuple[str, ...] = ()


MUTANTS = [
    Mutant("the floor test", FRESHNESS, "return asof >= floor", "return True", quick=RULES),
    Mutant("the alias's floor", FRESHNESS, "max(self.tail_start, self._alias_floors.get(alias, 0))", "self.tail_start"),
    Mutant("the tenant's floor", FRESHNESS, "floor = max(floor, self._tenant_floors.get(tenant_id, 0))", "pass"),
    Mutant("the tail's start", FRESHNESS, "floor = max(self.tail_start, ", "floor = max(0, ", quick=RULES),
    Mutant("shared copies: not of another epoch", FRESHNESS, "return epoch == self.epoch and ", "return ", quick=RULES),
    Mutant(
        "shared copies: their entry is in the log",
        FRESHNESS,
        "return epoch == self.epoch and self.knows(mark) and ",
        "return epoch == self.epoch and ",
    ),
    Mutant(
        "shared copies: their entry is told by its time too",
        FRESHNESS,
        "return self._marks.get(mark.seq) == mark.at",
        "return mark.seq in self._marks",
        quick=RULES,
    ),
    Mutant("what reads have seen", FRESHNESS, "        if mark.seq > self.applied:\n", "        if False:\n"),
    Mutant(
        "what reads have seen must turn up in the log",
        FRESHNESS,
        "return any(entry.seq == seen.seq and entry.at == seen.at for entry in entries)",
        "return True",
    ),
    Mutant(
        "a log that ends before what reads have seen",
        FRESHNESS,
        "return asked.newest_known < seen.seq  #",
        "return True  #",
    ),
    Mutant(
        "reads: another entry of a known number",
        FRESHNESS,
        "return known is not None and known != mark.at",
        "return False",
    ),
    Mutant("reads: their entry is in the log", FRESHNESS, "(mark.seq > self.applied or self.knows(mark)) and ", ""),
    Mutant(
        "the log vouches for what it has come to",
        FRESHNESS,
        "return max(self.valid_until, own) if asof <= self.applied else own",
        "return max(self.valid_until, own)",
    ),
    Mutant(
        "what reads have seen outlives a collapse",
        FRESHNESS,
        "self.tail_start = self.newest_known",
        "self.tail_start = self.applied",
    ),
    Mutant("answers of an earlier generation", FRESHNESS, "asked.generation != self.generation or ", ""),
    Mutant("answers that took too long", FRESHNESS, " or now >= asked.sent_at + self.max_staleness", ""),
    Mutant("reads: another epoch", FRESHNESS, "if epoch != self.epoch or mark", "if mark"),
    Mutant("reads: a log that ends too early", FRESHNESS, " or mark.seq < asked.newest_known", ""),
    Mutant(
        "a pull counts from its sending",
        FOLLOWER,
        "self._freshness.extend(asked.sent_at)",
        "self._freshness.extend(self._clock())",
        quick=UNITS,
    ),
    Mutant(
        "a read counts from its sending",
        RESOLVER,
        "snapshot, question.sent_at) if is_believed",
        "snapshot, self._clock()) if is_believed",
        quick=UNITS,
    ),
    Mutant(
        "the log's epoch",
        FOLLOWER,
        "pull.continuous and pull.epoch == self._freshness.epoch",
        "pull.continuous",
        quick=UNITS,
    ),
    Mutant("the log's continuity", FOLLOWER, "pull.continuous and pull.epoch ==", "pull.epoch =="),
    Mutant(
        "a pull of an earlier generation", FOLLOWER, "if asked.generation != self._freshness.generation:", "if False:"
    ),
    Mutant("a mark of an earlier generation", FOLLOWER, "if asked.generation != self._generation:", "if False:"),
    Mutant("a tail older than a read", FOLLOWER, "if overtaken and ", "if False and "),
    Mutant(
        "a flush where a history begins",
        FOLLOWER,
        "only floors here.\n        self._sink.flush()\n",
        "only floors here.\n",
    ),
    Mutant("a sync waits for a pull sent after it", FOLLOWER, "wanted = self._started + 1", "wanted = self._started"),
    Mutant(
        "an answer overtaken is read again",
        RESOLVER,
        "if not self._freshness.accepts_read(snapshot.mark, alias, tenant_id):",
        "if False:",
        quick=UNITS,
    ),
    Mutant(
        "a change cuts loads off",
        RESOLVER,
        "            self._loading.pop(alias, None)\n            held_here",
        "            held_here",
        quick=UNITS,
    ),
    Mutant(
        "a refused answer cuts its load off",
        RESOLVER,
        "                if alias not in found:\n                    self._loading.pop(alias, None)\n",
        "                pass\n",
    ),
    Mutant(
        "a change evicts the tenant",
        RESOLVER,
        "            self._drop_older(held, entry.seq)\n        for",
        "            pass\n        for",
    ),
    Mutant(
        "a change evicts the alias",
        RESOLVER,
        "                self._drop_older(held_here, entry.seq)",
        "                pass",
    ),
    Mutant(
        "a newer read evicts siblings", RESOLVER, "if sibling.asof < asof and sibling.tenant != tenant:", "if False:"
    ),
    Mutant(
        "a copy belongs to its alias", RESOLVER, "alias in tenant.aliases\n            and", "True\n            and"
    ),
    Mutant(
        "the index is a copy as of what was applied",
        RESOLVER,
        " and self._freshness.accepts(self._freshness.applied, alias, None):",
        ":",
    ),
    Mutant(
        "the index is of the history that is followed",
        INDEXER,
        "if self._meanwhile is not meanwhile or not self._freshness.knows(stream.mark):",
        "if self._meanwhile is not meanwhile:",
    ),
    Mutant(
        "a change during the load of the index",
        INDEXER,
        "            self._meanwhile += entry.aliases",
        "            pass",
        ("storms", "machine", "index"),
    ),
    Mutant(
        "the index is not trusted while memory has lapsed",
        INDEXER,
        "return self._freshness.is_valid(self._clock())",
        "return True",
        ("storms", "machine", "index"),
    ),
    Mutant(
        "the short way is open to what the log vouches for",
        ENGINE,
        "if entry.asof <= self.freshness.applied:",
        "if True:",
    ),
    Mutant("an id that was not there", RESOLVER, "tenant_id = alias[len(ID_ALIAS) :]  #", "pass  #"),
    Mutant(
        "the advisory lock",
        SQL,
        "perform pg_advisory_xact_lock(7307199742);",
        "",
        SCHEMA,
        quick=(ON_SCHEMA + "TestOrder::test_nobody_overtakes_a_commit_that_has_drawn_its_number",),
    ),
    Mutant(
        "hot requests: freshness",
        MIDDLEWARE,
        "if now >= valid_until or server_now >= meter.until:",
        "if server_now >= meter.until:",
        WEB,
        quick=("tests/test_middleware.py",),
    ),
    Mutant(
        "hot requests: tokens are lent for as long as memory is fresh",
        MIDDLEWARE,
        "meter.lend(min(valid_until, ends - offset))",
        "meter.lend(ends - offset)",
        WEB,
        quick=("tests/test_middleware.py",),
    ),
    Mutant(
        "OLD in the trigger: the label",
        SQL,
        "'subdomain:' || old.subdomain, ",
        "",
        SCHEMA,
        quick=(ON_SCHEMA + "TestWhatIsNamed::test_a_rename_names_the_old_and_the_new",),
    ),
    Mutant(
        "OLD in the trigger: the domain",
        SQL,
        "array['domain:' || old.domain, ",
        "array[",
        SCHEMA,
        quick=(ON_SCHEMA + "TestWhatIsNamed::test_a_domain_that_is_renamed_names_both_domains",),
    ),
    Mutant(
        "OLD in the trigger: the tenant",
        SQL,
        "old.tenant_id <> new.tenant_id",
        "false",
        SCHEMA,
        quick=(ON_SCHEMA + "TestWhatIsNamed::test_a_domain_that_moves_names_both_tenants",),
    ),
    Mutant(
        "triggers fire always",
        SQL,
        "tenantcache.%I enable always trigger %I'",
        "tenantcache.%I enable trigger %I'",
        SCHEMA,
    ),
    Mutant(
        "the epoch names the database",
        SQL,
        "        (select oid from pg_database where datname = current_database()),\n",
        "",
        SCHEMA,
    ),
    Mutant(
        "the mark is told by its time too",
        STORE,
        "where seq = $1 and at = $2) as continuous",
        "where seq = $1) as continuous",
        SCHEMA,
    ),
    Mutant(
        "the tail has no gaps",
        STORE,
        "(select max(seq) from newest where at <= now()",
        "(select min(seq) from newest where at <= now()",
        SCHEMA,
    ),
    Mutant(
        "a statement that hangs costs its connection",
        STORE,
        "                connection.terminate()\n                raise",
        "                raise",
        SCHEMA,
    ),
    Mutant(
        "handing over: an answer after the report is not used",
        FLEET_COUNTERS,
        "if self.fleet.version_of(minute_at(asked)) != counters:",
        "if False:",
        COUNTERS,
        quick=(ON_COUNTERS + "test_an_answer_that_comes_after_the_report_is_not_used",),
    ),
    Mutant(
        "handing over: the day is written down before the report",
        FLEET_COUNTERS,
        "            await self._mirror()\n            if await self.holder.report(report):",
        "            if await self.holder.report(report):",
        COUNTERS,
    ),
    Mutant(
        "handing over: who decided alone does not report",
        STORE_CHOICE,
        " or minute in (self.own_minute, self.lost_minute):",
        ":",
        COUNTERS,
    ),
    Mutant(
        "handing over: a holder is known to Postgres",
        HANDOVER,
        "return minute <= self.through or (is_vouched_for and self.through >= 0)",
        "return True",
        ("counters", "handing over"),
    ),
    Mutant(
        "handing over: nothing is taken after the report",
        HANDOVER,
        "return self._given_up == version",
        "return False",
        ("counters", "handing over"),
    ),
    Mutant(
        "handing over: all holders have reported",
        SQL,
        "(reported_version, reported_minute) is distinct from (known_version, of_minute));",
        "false);",
        HANDING_OVER,
        quick=("tests/stores/test_choices.py::test_the_last_report_hands_the_minute_over_with_the_sum_of_all",),
    ),
    Mutant(
        "handing over: a holder is one of the row that it knows",
        SQL,
        "if holds and exists (select from tenantcache.counter_store where version = known_version) then",
        "if holds then",
        HANDING_OVER,
        quick=("tests/stores/test_choices.py::test_a_process_becomes_no_holder_while_a_minute_is_being_handed_over",),
    ),
]
