"""Which entry of a full cache has to go: S3-FIFO (Yang et al., SOSP 2023).

New entries come into a small queue, a tenth of the cache. Most of what is asked for once never is again, and leaves it
there. What was asked for twice meanwhile moves on into the main queue. At the end of that an entry that was asked for
since gets another turn. What left the small queue is remembered for a while, without its content, as a ghost. If it
comes again, it begins in the main queue. A hit moves nothing: it counts up to 3 in the entry.

In a queue an entry may be `gone`, because another one took its place: it is passed over at the end.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable, Iterator
from typing import Final, Generic, Protocol, TypeVar

SMALL_SHARE: Final = 0.1
"""The paper finds 10 % right over 6,594 traces."""

PROMOTED_AT: Final = 2
"""Hits in the small queue that move an entry into the main one (the paper's `freq > 1`)."""

MOST_HITS: Final = 3


class Node(Protocol):
    """What a queue holds. What serves it counts `hits` up to `MOST_HITS`; `size` is in bytes."""

    hits: int
    size: int
    gone: bool


N = TypeVar("N", bound=Node)


class _Queue(Generic[N]):
    """First in, first out; knows how many entries and bytes it holds, those that are gone left out."""

    __slots__ = ("_nodes", "bytes", "entries")

    def __init__(self) -> None:
        self.entries: int = 0
        self.bytes: int = 0
        self._nodes: deque[tuple[Hashable, N, int]] = deque()

    def push(self, key: Hashable, node: N) -> None:
        self._nodes.append((key, node, node.size))
        self.entries += 1
        self.bytes += node.size

    def pop(self) -> tuple[Hashable, N] | None:
        while self._nodes:
            key, node, size = self._nodes.popleft()
            if not node.gone:
                self.drop(size)
                return key, node
        return None

    def drop(self, size: int) -> None:
        """One that is held has gone."""
        self.entries -= 1
        self.bytes -= size

    @property
    def is_mostly_gone(self) -> bool:
        return len(self._nodes) > 2 * self.entries + 64

    def compact(self) -> None:
        self._nodes = deque(item for item in self._nodes if not item[1].gone)


class S3Fifo(Generic[N]):
    """At most `max_entries` entries of `max_bytes` bytes together."""

    def __init__(self, max_entries: int, max_bytes: int) -> None:
        self.max_entries: int = max_entries
        self.max_bytes: int = max_bytes
        self._small: _Queue[N] = _Queue()
        self._main: _Queue[N] = _Queue()
        self._in_small: set[Hashable] = set()
        self._ghosts: OrderedDict[int, None] = OrderedDict()

    @property
    def entries(self) -> int:
        return self._small.entries + self._main.entries

    @property
    def bytes(self) -> int:
        return self._small.bytes + self._main.bytes

    def add(self, key: Hashable, node: N) -> Iterator[Hashable]:
        """Take `node` in, whose key is not held; the keys that have to go for it. All of them are to be consumed."""
        if hash(key) in self._ghosts:
            del self._ghosts[hash(key)]
            self._main.push(key, node)
        else:
            self._in_small.add(key)
            self._small.push(key, node)
        while self.entries > self.max_entries or self.bytes > self.max_bytes:
            yield self._evict()

    def remove(self, key: Hashable, node: N) -> None:
        """`node` is not held any more."""
        node.gone = True
        queue = self._small if key in self._in_small else self._main
        self._in_small.discard(key)
        queue.drop(node.size)
        if queue.is_mostly_gone:
            queue.compact()

    def replace(self, key: Hashable, old: N, new: N) -> Iterator[Hashable]:
        """Put `new` in the place of `old`: it keeps its queue and its hits. What has to go, as in `add`."""
        new.hits = old.hits
        queue = self._small if key in self._in_small else self._main
        old.gone = True
        queue.drop(old.size)
        queue.push(key, new)
        if queue.is_mostly_gone:
            queue.compact()
        while self.entries > self.max_entries or self.bytes > self.max_bytes:
            yield self._evict()

    def clear(self) -> None:
        self._small, self._main = _Queue(), _Queue()
        self._in_small.clear()
        self._ghosts.clear()

    def _evict(self) -> Hashable:
        while True:
            if self._is_small_full() and (found := self._small.pop()) is not None:
                key, node = found
                self._in_small.discard(key)
                if node.hits >= PROMOTED_AT:
                    node.hits = 0
                    self._main.push(key, node)
                    continue
                self._remember(key)
            else:
                found = self._main.pop()
                assert found is not None
                key, node = found
                if node.hits:
                    node.hits -= 1
                    self._main.push(key, node)
                    continue
            node.gone = True
            return key

    def _is_small_full(self) -> bool:
        small = self._small
        is_large = small.entries > SMALL_SHARE * self.max_entries or small.bytes > SMALL_SHARE * self.max_bytes
        return small.entries > 0 and (is_large or self._main.entries == 0)

    def _remember(self, key: Hashable) -> None:
        self._ghosts[hash(key)] = None
        if len(self._ghosts) > self.max_entries:
            self._ghosts.popitem(last=False)
