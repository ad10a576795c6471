"""Pure decisions about hosts, names and copies."""
