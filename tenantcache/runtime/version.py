"""The version of the package that runs, read from its metadata once."""

from __future__ import annotations

from importlib.metadata import version
from typing import Final

VERSION: Final = version("tenantcache")
