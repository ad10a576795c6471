"""Pure decisions about values: their names, how long they live, which copies may be served."""
