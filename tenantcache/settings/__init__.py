"""The settings, and how each is read and checked."""
