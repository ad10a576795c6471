"""Helpers around the real servers that the fixtures start."""
