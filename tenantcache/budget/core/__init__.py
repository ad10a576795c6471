"""Pure parts: prices, bands, patterns of keys, estimates."""
