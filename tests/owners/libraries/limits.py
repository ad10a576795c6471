import os
from importlib.metadata import version

from limits import parse
from limits.storage import storage_from_string
from limits.strategies import FixedWindowRateLimiter, MovingWindowRateLimiter, SlidingWindowCounterRateLimiter

storage = storage_from_string(os.environ["REDIS_URL"])
for strategy in (FixedWindowRateLimiter, MovingWindowRateLimiter, SlidingWindowCounterRateLimiter):
    limiter = strategy(storage)
    for text in ("10/minute", "5 per 2 hours", "100/day"):
        for user in ("alice", "10.0.0.7"):
            limiter.hit(parse(text), strategy.__name__, user)
            limiter.test(parse(text), strategy.__name__, user)
print("limits", version("limits"))
