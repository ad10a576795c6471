"""Pure decisions: no await, no clock, no I/O, no logging. Time comes in as an argument, decisions go out as values."""
