import os
from importlib.metadata import version

from upstash_ratelimit import FixedWindow, Ratelimit, SlidingWindow, TokenBucket
from upstash_redis import Redis

client = Redis(url=os.environ["REST_URL"], token="recorded")
for limiter in (
    FixedWindow(max_requests=10, window=10),
    SlidingWindow(max_requests=10, window=10),
    TokenBucket(max_tokens=10, refill_rate=5, interval=10),
):
    limit = Ratelimit(redis=client, limiter=limiter)
    for user in ("alice", "10.0.0.7", "alice"):
        limit.limit(user)
print("upstash-ratelimit", version("upstash-ratelimit"))
