"""What the server runs: `uvicorn example_app.main:app --workers 2`. Everything is set by the environment."""

from __future__ import annotations

from .site import create_app

app = create_app()
