"""What Redis costs: the meter, the fleet's use, and what keeps it within a budget."""
