"""The example app with its metrics, and with its log in the file that $OUTAGES_LOG names."""

from __future__ import annotations

import logging
import os

from example_app.site import create_app
from tenantcache.observability.prometheus import MetricsApp

app = create_app()
app.mount("/metrics", MetricsApp(app.state.cache))

_handler = logging.FileHandler(os.environ["OUTAGES_LOG"])
_handler.setFormatter(logging.Formatter("%(created)f\t%(process)d\t%(levelname)s\t%(message)s"))
logging.getLogger("tenantcache").setLevel(logging.INFO)
logging.getLogger("tenantcache").addHandler(_handler)
