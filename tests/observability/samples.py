"""Reads what a scrape has answered, with the parsers of prometheus_client, which have no types."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text


def families(text: bytes) -> Iterator[Metric]:
    """Of the text format."""
    yield from parse_text(text.decode())


def openmetrics(text: bytes) -> Iterator[Metric]:
    """Of OpenMetrics, whose parser is strict."""
    yield from parse_openmetrics(text.decode())  # type: ignore[no-untyped-call]


def values(text: bytes) -> dict[str, float]:
    """Each sample of the text format by its name and labels: `name{label=value,...}`."""
    found = {}
    for family in families(text):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found
