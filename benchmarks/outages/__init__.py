"""An outage of Redis and one of Postgres, as the dashboard, the alerts and the log tell of them."""
