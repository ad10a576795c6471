"""What operators and applications write: tenants, domains, usage."""
