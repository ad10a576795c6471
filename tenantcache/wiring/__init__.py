"""How an engine is put together: its stores, its parts, and what joins them."""
