"""Learns what the keys of a Redis are from few billed commands.

1. DBSIZE says how many keys there are: one command for each node.
2. A tenth of the other commands are SCANs. If they reach, they walk all keys. If not, each starts at a position of its
   own, evenly spread (`budget/core/scancursor.py`), and names a run of keys. If a server's cursors are not positions,
   the walk starts at 0 and ends early, and the report says so.
3. What is left asks a choice of the keys for TYPE, TTL and MEMORY USAGE. First come some of each pattern, then more of
   the patterns that hold most keys, and of those whose sizes vary most.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any, Protocol

from tenantcache.budget.core.allocation import allocate, allocate_pilot, weigh
from tenantcache.budget.core.keyanswers import Answer, Question, read_answer
from tenantcache.budget.core.keyreport import KeyReport
from tenantcache.budget.core.keysummary import KeySample, NodeKeys, summarize
from tenantcache.budget.core.prices import count_billed
from tenantcache.budget.core.scancursor import are_positions, cursor_at, position_of
from tenantcache.budget.core.tally import Tally

COUNT = 1_000
"""Keys for one SCAN, which holds the server as long as some hundred GETs do: see docs/keys.md."""

SCANS_AT_ONCE = 4
"""SCANs in one round trip. Other clients may have to wait for all of them."""

JUDGED = 8
"""Runs after which it is judged whether cursors are positions."""

KEYS_AT_ONCE = 50
"""Keys that are asked in one round trip."""

SCAN_SHARE = 10
"""One of so many commands is a SCAN."""

Progress = Callable[[int, int], None]
"""Is told the billed commands so far, and how many they may be."""


class Node(Protocol):
    """One server. `send_many` returns the replies, an exception in place of each that was refused."""

    @property
    def address(self) -> str: ...

    async def send_many(self, commands: Sequence[Sequence[Any]]) -> list[Any]: ...


class Source(Protocol):
    """A Redis: its primaries."""

    @property
    def nodes(self) -> Sequence[Node]: ...


async def sample_keys(
    redis: Source,
    *,
    max_commands: int,
    random: Random | None = None,
    progress: Progress | None = None,
) -> KeyReport:
    """Look at the keys of `redis`, with `max_commands` billed commands at most.

    Raises what the nodes raise if they cannot be reached.
    """
    sampling = KeySampler(redis.nodes, max_commands, random or Random(), progress)
    await sampling.count_keys()
    await sampling.name_keys()
    await sampling.ask_keys()
    return summarize(sampling.sample())


class KeySampler:
    """The steps of a sample, each with what the limit leaves to it."""

    def __init__(
        self, nodes: Sequence[Node], max_commands: int, random: Random, progress: Progress | None = None
    ) -> None:
        self._nodes = nodes
        self._most = max_commands
        self._random = random
        self._progress = progress
        self._billed = 0
        self._keys: list[NodeKeys] = []
        self._tally = Tally(random.random, max_commands)
        self._questions = list(Question)
        self._answers: dict[str, list[tuple[bytes, Answer]]] = {}
        self._notes: list[str] = []
        self._scan_refused = False

    def sample(self) -> KeySample:
        return KeySample(self._keys, self._tally, self._answers, self._billed, self._notes, self._scan_refused)

    async def count_keys(self) -> None:
        for node in self._nodes:
            reply = (await self._send(node, [("DBSIZE",)]) or [None])[0]
            self._keys.append(NodeKeys(reply if isinstance(reply, int) else None))
        if any(keys.counted is None for keys in self._keys):
            self._note("DBSIZE is refused: how many keys there are is known only if all of them could be seen")

    async def name_keys(self) -> None:
        scans = max(len(self._nodes), self._left // SCAN_SHARE)
        needed = [_scans_for(keys.counted) for keys in self._keys]
        for number, (node, need) in enumerate(zip(self._nodes, needed, strict=True)):
            share = scans if sum(needed) <= scans else max(1, scans * need // sum(needed))
            if self._keys[number].counted == 0:
                self._keys[number].whole = True
            elif need <= share or self._keys[number].counted is None:
                await self._walk(number, node, share)
            else:
                await self._sample(number, node, share)
        self._tally.learn()

    async def ask_keys(self) -> None:
        keys = self.keys_by_pattern()
        most = {pattern: len(kept) for pattern, kept in keys.items()}
        await self._ask(keys, allocate_pilot(self._left // len(self._questions), most))
        if self._questions:
            left = {pattern: len(kept) for pattern, kept in keys.items()}
            await self._ask(keys, allocate(self._left // len(self._questions), self._weights(), left))

    @property
    def _left(self) -> int:
        return self._most - self._billed

    def _note(self, text: str) -> None:
        if text not in self._notes:
            self._notes.append(text)

    async def _send(self, node: Node, commands: Sequence[Sequence[Any]]) -> list[Any]:
        """Send `commands`, or none of them if that would pass the limit."""
        billed = count_billed(commands)
        if billed > self._left:
            return []
        self._billed += billed
        replies = await node.send_many(commands)
        if self._progress is not None:
            self._progress(self._billed, self._most)
        return replies

    async def _scan(self, node: Node, cursors: Sequence[int]) -> list[tuple[int, list[bytes]]]:
        """Cursor and keys of each SCAN; nothing if the limit is reached, or if one is refused."""
        replies = await self._send(node, [("SCAN", cursor, "COUNT", COUNT) for cursor in cursors])
        if any(isinstance(reply, Exception) for reply in replies):
            self._scan_refused = True
            return []
        return [(int(cursor), keys) for cursor, keys in replies]

    async def _walk(self, number: int, node: Node, scans: int) -> None:
        """From the first key on, and to the last if `scans` reach."""
        cursor = 0
        for _ in range(scans):
            replies = await self._scan(node, [cursor])
            if not replies:
                break
            [(cursor, keys)] = replies
            self._tally.add_run(number, keys)
            if not cursor:
                self._keys[number].whole = True
                return
        self._note(f"the walk of the keys at {node.address} ended early; what comes last is not known")

    async def _sample(self, number: int, node: Node, scans: int) -> None:
        """Runs that start evenly spread, from a random position on."""
        offset = self._random.random()
        starts = [(start + offset) / scans for start in range(scans)]
        first = await self._runs(node, starts[:JUDGED])
        if not first:
            self._note(f"no keys at {node.address} were looked at: SCAN is refused, or too few commands are left")
            return
        spans, sizes = [span for span, _ in first], [len(keys) for _, keys in first]
        if not are_positions(spans, sizes, self._keys[number].counted or 0):
            self._note(
                f"the cursors of {node.address} are not positions, so the first keys of its order stand for all; "
                "the intervals may be off"
            )
            await self._walk(number, node, max(1, scans - len(first)))
            return
        self._add_runs(number, first)
        for start in range(JUDGED, scans, SCANS_AT_ONCE):
            self._add_runs(number, await self._runs(node, starts[start : start + SCANS_AT_ONCE]))

    async def _runs(self, node: Node, starts: Sequence[float]) -> list[tuple[float, list[bytes]]]:
        """For each start the span of its run, and its keys."""
        runs = []
        for number in range(0, len(starts), SCANS_AT_ONCE):
            at_once = starts[number : number + SCANS_AT_ONCE]
            replies = await self._scan(node, [cursor_at(start) for start in at_once])
            for start, (cursor, keys) in zip(at_once, replies, strict=False):
                runs.append((position_of(cursor) - start, keys))
        return runs

    def _add_runs(self, number: int, runs: Sequence[tuple[float, list[bytes]]]) -> None:
        for span, keys in runs:
            self._tally.add_run(number, keys)
            self._keys[number].spans.append(span)

    def keys_by_pattern(self) -> dict[str, list[tuple[int, bytes]]]:
        """The keys that may be asked, each with its node, in a random order."""
        return {
            pattern: [(node, key) for _, node, key in sorted(seen.kept, reverse=True)]
            for pattern, seen in self._tally.patterns.items()
        }

    def _weights(self) -> dict[str, float]:
        keys = {pattern: seen.keys for pattern, seen in self._tally.patterns.items()}
        sizes = {
            pattern: [answer.size for _, answer in answers if answer.size is not None]
            for pattern, answers in self._answers.items()
        }
        return weigh(keys, sizes)

    async def _ask(self, keys: Mapping[str, list[tuple[int, bytes]]], counts: Mapping[str, int]) -> None:
        """Ask `counts` of the keys of each pattern, and take them out of `keys`."""
        by_node: dict[int, list[tuple[str, bytes]]] = {}
        for pattern, count in counts.items():
            for node, key in keys[pattern][:count]:
                by_node.setdefault(node, []).append((pattern, key))
            del keys[pattern][:count]
        for node, asked in by_node.items():
            for start in range(0, len(asked), KEYS_AT_ONCE):
                await self._ask_node(self._nodes[node], asked[start : start + KEYS_AT_ONCE])

    async def _ask_node(self, node: Node, asked: Sequence[tuple[str, bytes]]) -> None:
        questions = tuple(self._questions)
        replies = await self._send(node, [(question.value, key) for _, key in asked for question in questions])
        for number, (pattern, key) in enumerate(asked if replies else []):
            answer = read_answer(questions, replies[number * len(questions) : (number + 1) * len(questions)])
            if answer is not None:
                self._answers.setdefault(pattern, []).append((key, answer))
        for number, question in enumerate(questions):
            refusals = [reply for reply in replies[number :: len(questions)] if isinstance(reply, Exception)]
            if refusals and any(_is_about_the_key(refusal) for refusal in refusals):
                self._note("this user may not read some of the keys: of those nothing but the name is known")
            elif replies and len(refusals) == len(asked):
                self._questions.remove(question)
                self._note(f"{question.value} is refused, so {_UNKNOWN[question]} not known ({refusals[0]})")


_UNKNOWN = {
    Question.TYPE: "types are",
    Question.TTL: "the time to live is",
    Question.SIZE: "sizes are",
}


def _is_about_the_key(refusal: Exception) -> bool:
    """Whether a user may run the command, but not with this key: other keys may be asked."""
    return "permissions to access" in str(refusal).lower()


def _scans_for(keys: int | None) -> int:
    """Commands that walk so many keys; a SCAN may name a few less than asked for, for instance while a table grows."""
    return 2 + int(1.1 * (keys or 0)) // COUNT
