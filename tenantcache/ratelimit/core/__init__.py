"""Pure decisions about limits: no await, no clock, no I/O, no logging."""
