"""Names are told from words by the company they keep."""

from __future__ import annotations

import random
import string
from collections import Counter
from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from tenantcache.budget.core.learning import MOST_NAMESPACES, MOST_WORDS, learn
from tenantcache.budget.core.patterns import fold

NAMES = [f"{first}{second}ob" for first in string.ascii_lowercase for second in string.ascii_lowercase]


def patterns_of(keys: Iterable[str]) -> dict[str, int]:
    folded = Counter(fold(key.encode()) for key in keys)
    folding = learn(folded)
    found: Counter[str] = Counter()
    for pattern, count in folded.items():
        found[folding.fold(pattern)] += count
    return dict(found)


def test_many_words_in_one_place_are_names() -> None:
    keys = [f"user:{name}" for name in NAMES]
    assert patterns_of(keys) == {"user:{name}": len(NAMES)}


def test_few_words_stay() -> None:
    keys = [f"tenant:{number}:{word}" for number in range(500) for word in ("settings", "profile")]
    keys += [f"day:{word}" for word in NAMES[:MOST_WORDS]]
    found = patterns_of(keys)
    assert found["tenant:{id}:settings"] == found["tenant:{id}:profile"] == 500
    assert len(found) == 2 + MOST_WORDS


def test_a_word_beside_names_that_something_else_follows_stays() -> None:
    keys = [f"tenant:{name}:settings" for name in NAMES] + ["tenant:settings", "tenant:defaults:limits"]
    found = patterns_of(keys)
    assert found == {"tenant:{name}:settings": len(NAMES), "tenant:settings": 1, "tenant:defaults:limits": 1}


def test_names_with_few_of_their_keys_in_the_sample() -> None:
    draw = random.Random(1)
    words = ["cart", "profile", "session", "orders"]
    keys = [f"tenant:{name}:{word}" for name in NAMES for word in draw.sample(words, draw.randint(1, 4))]
    assert set(patterns_of(keys)) == {f"tenant:{{name}}:{word}" for word in words}


def test_namespaces_stay_though_much_the_same_follows_them() -> None:
    spaces = NAMES[: MOST_NAMESPACES // 2]
    assert len(patterns_of(f"{space}:{number}" for space in spaces for number in range(5))) == len(spaces)


def test_numbered_words() -> None:
    assert patterns_of(f"host:web{number}" for number in range(300)) == {"host:web{id}": 300}
    assert set(patterns_of(["oauth2:a", "oauth1:a"])) == {"oauth2:a", "oauth1:a"}


def test_flat_keys() -> None:
    assert patterns_of(f"page_{name}" for name in NAMES) == {"page_{name}": len(NAMES)}


def test_tokens_that_look_like_words_or_ids_are_with_the_others() -> None:
    draw = random.Random(2)
    keys = ["sess:" + "".join(draw.choices(string.ascii_lowercase + string.digits, k=12)) for _ in range(5_000)]
    found = patterns_of(keys)
    assert found["sess:{token}"] > 0.99 * len(keys)


def test_what_was_not_among_those_learned_from() -> None:
    folding = learn({f"tenant:{name}:settings": 1 for name in NAMES})
    assert folding.fold("tenant:neverseen:settings") == "tenant:{name}:settings"
    assert folding.fold("other:neverseen") == "other:neverseen"


PIECES = st.sampled_from(["user", "{id}", "cart", "{hash}", "a", "b", *NAMES[:60]])


@given(st.dictionaries(st.lists(PIECES, min_size=1, max_size=4).map(":".join), st.integers(1, 100), max_size=80))
def test_folding_keeps_places_and_what_is_folded(patterns: dict[str, int]) -> None:
    folding = learn(patterns)
    for pattern in patterns:
        folded = folding.fold(pattern)
        assert folded.count(":") == pattern.count(":")
        assert folding.fold(folded) == folded
