"""The example app on real servers: what a person sees there is so, and what a tenant wrote about itself is text."""

from __future__ import annotations

import asyncio
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from html import unescape
from typing import Any

import asyncpg
import pytest
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from example_app.pages import DEFAULT_COLOUR, format_duration
from example_app.site import create_app
from tenantcache import Settings
from tenantcache.devservers import PostgresServer
from tenantcache.schema import install as schema

pytestmark = pytest.mark.usefixtures("patience")

PLANS = {"free": {"per_minute": 5, "per_day": 50}, "pro": {"per_minute": 600, "per_day": 7_000}}
BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
SCRIPT = "<script>alert('x')</script>"

TENANTS = """
    insert into tenantcache.tenants (id, name, subdomain, status, plan, attributes) values
        ('t1', 'Acme', 'acme', 'active', 'pro', '{"color": "#123abc"}'),
        ('t2', 'Globex', 'globex', 'active', 'free', '{}'),
        ('t3', 'Umbrella', 'umbrella', 'suspended', null, '{}'),
        ('t4', 'Oceanic', 'oceanic', 'maintenance', null, '{}'),
        ('t5', 'Nowhere', null, 'active', null, '{}');
    insert into tenantcache.tenant_domains (domain, tenant_id) values ('shop.acme.io', 't1'), ('acme.io', 't1')
"""

Workers = Callable[[], TestClient]


def execute(url: str, sql: str) -> None:
    """Run `sql` as some other client of the database."""

    async def run() -> None:
        connection = await asyncpg.connect(url)
        try:
            await connection.execute(sql)
        finally:
            await connection.close()

    asyncio.run(run())


def wait_for(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.005)


@pytest.fixture
def seeded_url(database_url: str) -> str:
    execute(database_url, TENANTS)
    return database_url


@pytest.fixture
def start_worker(seeded_url: str, redis_url: str) -> Iterator[Workers]:
    """Start the app as one more worker would: an engine, a loop and a life cycle of its own."""
    settings = Settings(database_url=seeded_url, redis_url=redis_url, plans=PLANS, warm_up=False)
    with ExitStack() as stack:

        def start() -> TestClient:
            app = create_app(settings)
            return stack.enter_context(TestClient(app, "http://acme.localhost:8000", follow_redirects=False))

        yield start


@pytest.fixture
def worker(start_worker: Workers) -> TestClient:
    return start_worker()


def at(subdomain: str, path: str = "/") -> str:
    return f"http://{subdomain}.localhost:8000{path}"


def whoami(worker: TestClient, subdomain: str = "acme") -> dict[str, Any]:
    response = worker.get(at(subdomain, "/api/whoami"))
    assert response.status_code == 200
    answer: dict[str, Any] = response.json()
    return answer


# -- whoami ---------------------------------------------------------------------------------------------------------


def test_whoami_says_who_the_tenant_is_and_who_answered(worker: TestClient) -> None:
    answer = whoami(worker)

    assert {key: answer[key] for key in ("id", "name", "plan", "status", "subdomain", "pid")} == {
        "id": "t1",
        "name": "Acme",
        "plan": "pro",
        "status": "active",
        "subdomain": "acme",
        "pid": os.getpid(),
    }
    assert answer["domains"] == ["acme.io", "shop.acme.io"]
    assert answer["limits"] == {"per_minute": 600, "per_day": 7_000}
    assert answer["worker"]["processes"] == 1
    assert 0 < answer["worker"]["valid_for"] <= 3


def test_the_quotas_are_those_of_the_headers(worker: TestClient) -> None:
    response = worker.get("/api/whoami")
    quotas = response.json()["quotas"]

    left = re.findall(r"r=(\d+)", response.headers["RateLimit"])
    assert left == ["599", "6999"]
    assert [quotas["minute"]["remaining"], quotas["day"]["remaining"]] == [599, 6_999]
    assert [quotas["minute"]["limit"], quotas["day"]["limit"]] == [600, 7_000]
    assert 0 <= quotas["minute"]["reset"] <= 60


def test_an_unlimited_tenant_has_no_quotas(worker: TestClient, seeded_url: str) -> None:
    execute(seeded_url, "update tenantcache.tenants set limit_per_minute = 0, limit_per_day = 0 where id = 't1'")

    wait_for(lambda: whoami(worker)["quotas"] == {"minute": None, "day": None})

    assert worker.get("/").text.count('<span class="left">unlimited</span>') == 2


def test_each_tier_is_told(start_worker: Workers, billed_commands: Any) -> None:
    first = start_worker()

    assert whoami(first)["tier"] == "postgres"
    assert whoami(first)["tier"] == "memory"
    wait_for(lambda: billed_commands.by_command().get("set", 0) == 1)
    assert whoami(start_worker())["tier"] == "redis"


def test_the_worker_counts_requests_and_redis_commands(worker: TestClient, billed_commands: Any) -> None:
    whoami(worker)
    wait_for(lambda: billed_commands.by_command().get("set", 0) == 1)

    answer = whoami(worker)

    assert answer["worker"]["requests"] == 2
    assert answer["worker"]["redis_commands"] == billed_commands.total()


def test_it_hangs_up_when_asked_to(worker: TestClient) -> None:
    assert worker.get("/api/whoami?reconnect=true").headers["Connection"] == "close"
    assert "Connection" not in worker.get("/api/whoami").headers


# -- the page -------------------------------------------------------------------------------------------------------


def test_the_page_shows_the_tenant_and_what_is_left(worker: TestClient) -> None:
    page = worker.get("/")

    assert page.status_code == 200
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert '<h1 data-show="name">Acme</h1>' in page.text
    assert '<span class="chip host">shop.acme.io</span>' in page.text
    assert re.search(r'max="600" value="599"', page.text)
    assert re.search(r'max="7000" value="6999"', page.text)
    assert "599 of 600" in page.text
    assert "6,999 of 7,000" in page.text
    assert '<li data-tier="postgres" class="here">' in page.text
    assert f'<dd data-show="pid">{os.getpid()}</dd>' in page.text
    assert "--accent: #123abc;" in page.text
    assert 'href="http://localhost:8000/"' in page.text


def test_the_script_gets_the_same_answer(worker: TestClient) -> None:
    page = worker.get("/").text

    found = re.search(r'<script type="application/json" id="answer">(.*?)</script>', page)
    assert found is not None
    answer = json.loads(found[1])
    assert answer["name"] == "Acme"
    assert answer["limits"] == {"per_minute": 600, "per_day": 7_000}


def test_the_form_offers_the_plans_that_are_configured(worker: TestClient) -> None:
    offered = re.findall(r'<option value="(\w*)" (selected)?>', worker.get("/").text)

    assert offered == [("free", ""), ("pro", "selected")]


def test_what_a_tenant_wrote_is_text(worker: TestClient, seeded_url: str) -> None:
    colour = "red;}</style><script>alert(1)</script>"
    execute(
        seeded_url,
        f"update tenantcache.tenants set name = $${SCRIPT}$$, plan = $${SCRIPT}$$,"
        f" attributes = jsonb_build_object('color', $${colour}$$) where id = 't1'",
    )
    wait_for(lambda: whoami(worker)["name"] == SCRIPT)

    for page in (worker.get("/").text, worker.get("http://localhost:8000/").text):
        assert "<script>" not in page
        assert "alert(1)" not in page
        assert "&lt;script&gt;alert(" in page
        assert DEFAULT_COLOUR in page
    heading = re.search(r'<h1 data-show="name">(.*?)</h1>', worker.get("/").text)
    assert heading is not None
    assert unescape(heading[1]) == SCRIPT


def test_only_our_own_scripts_and_styles_may_run(worker: TestClient) -> None:
    for url in (at("acme"), "http://localhost:8000/", at("oceanic")):
        page = worker.get(url, headers=BROWSER)
        policy = page.headers["Content-Security-Policy"]
        found = re.search(r"script-src 'nonce-([\w-]{22})'", policy)
        assert found is not None
        nonce = found[1]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy

        elements = re.findall(r"<(?:script|style)[^>]*>", page.text)
        assert elements
        assert all(f'nonce="{nonce}"' in tag or "application/json" in tag for tag in elements)
        assert not re.search(r"<[^>]* (?:style|on\w+)=", page.text)
        assert not re.search(r'(?:src|href)="(?:https?:)?//(?![\w.-]*localhost)', page.text)
    assert nonce not in worker.get("/").text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "1 s"), (31, "31 s"), (119.5, "120 s"), (120, "2 min"), (3_601, "61 min"), (7_200, "2 h"), (52_621, "15 h")],
)
def test_durations_are_rounded_up(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


# -- changing a tenant ----------------------------------------------------------------------------------------------


def test_a_change_is_seen_by_this_worker_at_once_and_by_the_other_soon(start_worker: Workers) -> None:
    mine, other = start_worker(), start_worker()
    assert whoami(other, "globex")["name"] == "Globex"

    response = mine.post(at("globex", "/tenant"), data={"name": "  Globex & Sons ", "plan": "pro"})

    assert (response.status_code, response.headers["Location"]) == (303, "/")
    changed = whoami(mine, "globex")
    assert (changed["name"], changed["plan"]) == ("Globex & Sons", "pro")
    assert changed["limits"] == {"per_minute": 600, "per_day": 7_000}
    wait_for(lambda: other.get(at("globex", "/api/whoami")).json().get("name") == "Globex & Sons")
    assert whoami(other, "globex")["plan"] == "pro"


@pytest.mark.parametrize(
    "form",
    [
        {"name": "", "plan": "pro"},
        {"name": "   ", "plan": "pro"},
        {"name": "x" * 81, "plan": "pro"},
        {"name": "a\x00b", "plan": "pro"},
        {"plan": "pro"},
        {"name": "Acme", "plan": "gold"},
        {"name": "Acme", "plan": ""},
    ],
)
def test_a_bad_form_changes_nothing(worker: TestClient, form: dict[str, str]) -> None:
    assert worker.post("/tenant", data=form).status_code == 422

    answer = whoami(worker)
    assert (answer["name"], answer["plan"]) == ("Acme", "pro")


def test_a_tenant_without_a_plan_may_stay_so(worker: TestClient, seeded_url: str) -> None:
    execute(seeded_url, "update tenantcache.tenants set plan = null where id = 't1'")
    wait_for(lambda: whoami(worker)["plan"] is None)

    assert worker.post("/tenant", data={"name": "Free Acme"}).status_code == 303

    answer = whoami(worker)
    assert (answer["name"], answer["plan"]) == ("Free Acme", None)


# -- the apex and /health -------------------------------------------------------------------------------------------


def test_the_apex_lists_the_tenants_that_have_a_subdomain(worker: TestClient) -> None:
    page = worker.get("http://localhost:8000/")

    assert page.status_code == 200
    links = re.findall(r'<a class="card listed" href="([^"]+)">', page.text)
    assert links == [at(subdomain) for subdomain in ("acme", "globex", "oceanic", "umbrella")]
    assert "Nowhere" not in page.text
    assert '<span class="chip suspended">suspended</span>' in page.text
    assert "RateLimit" not in page.headers


def test_the_apex_has_no_tenant_to_speak_of(worker: TestClient) -> None:
    assert worker.get("http://localhost:8000/api/whoami").status_code == 404
    assert worker.post("http://localhost:8000/tenant", data={"name": "Nobody"}).status_code == 404


@pytest.mark.parametrize("host", ["acme.localhost", "umbrella.localhost", "nobody.example"])
def test_health_is_outside_tenancy(worker: TestClient, host: str) -> None:
    response = worker.get(f"http://{host}/health")

    assert (response.status_code, response.json()) == (200, {"status": "ok"})
    assert "RateLimit" not in response.headers


# -- refusals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "status", "text", "retry_after"),
    [
        ("nobody.localhost", 404, "There is no tenant at this address.", None),
        ("umbrella.localhost", 403, "This tenant is suspended.", None),
        ("oceanic.localhost", 503, "This tenant is under maintenance.", "60"),
    ],
)
def test_browsers_get_a_page_and_others_a_problem(
    worker: TestClient, host: str, status: int, text: str, retry_after: str | None
) -> None:
    page = worker.get(f"http://{host}/", headers=BROWSER)
    problem = worker.get(f"http://{host}/")

    assert page.status_code == problem.status_code == status
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert (page.headers["Cache-Control"], page.headers["Vary"]) == ("no-store", "Accept")
    assert text in page.text
    assert host not in page.text
    assert problem.headers["Content-Type"] == "application/problem+json"
    assert page.headers.get("Retry-After") == problem.headers.get("Retry-After") == retry_after
    assert ('http-equiv="refresh" content="60"' in page.text) == (retry_after is not None)


def test_a_malformed_host_gets_a_page_that_does_not_repeat_it(worker: TestClient) -> None:
    page = worker.get("/", headers={"Host": "<b>acme</b>", **BROWSER})

    assert page.status_code == 400
    assert "exactly one valid Host header" in page.text
    assert "<b>acme" not in page.text
    assert "&lt;b&gt;" not in page.text


def test_a_used_up_limit_gets_a_page_with_the_limits_in_its_headers(worker: TestClient) -> None:
    # The plan allows five a minute: of eleven requests one is refused, even if a minute begins between them.
    pages = [worker.get(at("globex"), headers=BROWSER) for _ in range(11)]
    refused = [page for page in pages if page.status_code == 429]

    assert {page.status_code for page in pages} == {200, 429}
    page = refused[0]
    assert "Too Many Requests" in page.text
    assert 1 <= int(page.headers["Retry-After"]) <= 60
    assert page.headers["RateLimit-Policy"] == '"minute";q=5;w=60, "day";q=50;w=86400'


# -- the WebSocket --------------------------------------------------------------------------------------------------


def test_the_socket_greets_and_repeats(worker: TestClient) -> None:
    with worker.websocket_connect("ws://acme.localhost:8000/ws") as socket:
        assert socket.receive_text() == "Hello, Acme!"
        socket.send_text("what a day")
        assert socket.receive_text() == "Acme said: what a day"


def test_an_open_socket_follows_a_change(worker: TestClient) -> None:
    with worker.websocket_connect("ws://acme.localhost:8000/ws") as socket:
        socket.receive_text()
        worker.post("/tenant", data={"name": "Acme Rockets", "plan": "pro"})

        socket.send_text("hello")

        assert socket.receive_text() == "Acme Rockets said: hello"


def test_a_message_costs_a_token_like_a_request(worker: TestClient) -> None:
    with worker.websocket_connect("ws://globex.localhost:8000/ws") as socket:
        socket.receive_text()
        answers = []
        for _ in range(11):  # more than two minutes of its plan admit
            socket.send_text("x")
            answers.append(socket.receive_text())

    refused = [answer for answer in answers if answer != "Globex said: x"]
    assert 1 <= len(refused) < len(answers)
    assert re.fullmatch(r"Globex has used up its limit; try again in \d+ s\.", refused[0])


def test_an_open_socket_ends_with_its_tenant(worker: TestClient, seeded_url: str) -> None:
    with worker.websocket_connect("ws://acme.localhost:8000/ws") as socket:
        socket.receive_text()
        execute(seeded_url, "update tenantcache.tenants set status = 'suspended' where id = 't1'")
        wait_for(lambda: worker.get("/api/whoami").status_code == 403)

        socket.send_text("still there?")

        with pytest.raises(WebSocketDisconnect) as closed:
            socket.receive_text()
    assert (closed.value.code, closed.value.reason) == (1008, "This tenant is no longer served.")


def test_there_is_no_socket_without_a_tenant(worker: TestClient) -> None:
    with pytest.raises(WebSocketDisconnect) as closed, worker.websocket_connect("ws://localhost:8000/ws"):
        pass
    assert closed.value.code == 1008


# -- without the database -------------------------------------------------------------------------------------------


def test_known_tenants_are_served_without_the_database(
    postgres_factory: Callable[..., PostgresServer], redis_url: str
) -> None:
    server = postgres_factory()
    execute(server.url, schema.sql())
    execute(server.url, TENANTS)
    app = create_app(Settings(database_url=server.url, redis_url=redis_url, plans=PLANS))
    with TestClient(app, "http://acme.localhost:8000", follow_redirects=False) as worker:
        assert worker.get("/").status_code == 200
        server.stop()

        assert worker.get("/").status_code == 200
        for answer in (worker.get("http://localhost:8000/"), worker.post("/tenant", data={"name": "A", "plan": "pro"})):
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
            assert answer.json() == {"detail": "The database does not answer."}
