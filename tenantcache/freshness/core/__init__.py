"""Pure decisions about which copies may be used, and until when."""
