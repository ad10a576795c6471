"""What any part may use: the clock, background tasks, forks, event loops, the circuit breaker."""
