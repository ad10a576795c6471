"""A token's way: from the counters that a fleet shares to the request that spends it."""
