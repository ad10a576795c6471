"""The ASGI face."""
