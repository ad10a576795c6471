"""What the limits cost and how much of them can be used, in virtual time.

A fleet of real limiters shares counters in memory, which bill as those in Redis are billed. Replies come at once. Every
run is a pure function of its options.

    python -m benchmarks.simulate_limits
    python -m benchmarks.simulate_limits startup hobby
    python -m benchmarks.simulate_limits zipf --tenants 500 --rate 20 --processes 3 --hours 2 --seed 7
"""
