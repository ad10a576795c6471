"""What docs/governor.md says: its example verifies what the webhook sends, and its figures are the code's."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest

from tenantcache.budget.core.bands import DWELL, HYSTERESIS, LEAVING, PER_PROCESS, REPORT_AGE, SHARES, SURGE
from tenantcache.budget.core.rate import KEPT
from tenantcache.budget.core.signature import key_of, signed_headers
from tenantcache.budget.governor import MESSAGE_TYPE
from tenantcache.budget.webhook import PAUSES, Message
from tenantcache.ratelimit.core.policy import DEFAULT_POLICY, THRIFTY_POLICY

TEXT = (Path(__file__).parents[1] / "docs" / "governor.md").read_text(encoding="utf-8")
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture
def example() -> dict[str, Any]:
    [code] = re.findall(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    return names


def test_the_example_verifies_what_is_sent(example: dict[str, Any]) -> None:
    body = Message("id-1", MESSAGE_TYPE, 1.0, {"to": "thrift"}).body
    headers = signed_headers(key_of(SECRET), "id-1", int(time.time()), body)
    assert example["is_genuine"](headers, body, SECRET)
    assert not example["is_genuine"](headers, body + b" ", SECRET)
    assert not example["is_genuine"](headers, body, "whsec_" + "A" * 32)
    assert not example["is_genuine"]({**headers, "webhook-id": "id-2"}, body, SECRET)
    rotated = {**headers, "webhook-signature": "v1,b3RoZXI= " + headers["webhook-signature"]}
    assert example["is_genuine"](rotated, body, SECRET)


def test_the_example_refuses_what_is_sent_again_later(example: dict[str, Any]) -> None:
    headers = signed_headers(key_of(SECRET), "id-1", int(time.time()) - 400, b"{}")
    assert not example["is_genuine"](headers, b"{}", SECRET)


def test_the_message_of_the_page_has_the_form_that_is_sent() -> None:
    [text] = re.findall(r"^```json\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
    message = json.loads(text)
    assert message["type"] == MESSAGE_TYPE
    assert list(message["data"]) == ["from", "to", "why", "used", "budget", "share", "period_start"]


def test_the_figures_are_those_of_the_code() -> None:
    for band, share in SHARES.items():
        assert f"| {band.value} | {share:.0%}".replace("%", " %") in TEXT
    assert "twice the highest rate of the last half hour, for 200 seconds, and 20 commands for each process" in TEXT
    assert (SURGE, KEPT, REPORT_AGE + LEAVING, PER_PROCESS) == (2.0, 1_800.0, 200.0, 20)
    assert (DWELL, HYSTERESIS, len(PAUSES)) == (300.0, 0.02, 5)
    assert (DEFAULT_POLICY.reserve, THRIFTY_POLICY.reserve) == (0.1, 0.3)
