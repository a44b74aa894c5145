"""The transport's own rules, with canned answers: what is retried, what is never retried, who waits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import responses

from orchestrator.clock import Stop
from orchestrator.errors import Retry, Stopped
from orchestrator.github.transport import Answer, ApiError, Moved, Transport, Unknown
from tests.virtual import VirtualClock

URL = "https://api.github.com:443"
DATE = {"Date": "Sat, 21 Nov 2026 10:00:00 GMT"}


@pytest.fixture
def web() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock() as mock:
        yield mock


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def transport(clock: VirtualClock) -> Iterator[Transport]:
    made = Transport("https://api.github.com", "secret-token", clock, Stop())
    yield made
    made.close()


def answers(web: responses.RequestsMock, method: str, *many: dict[str, Any]) -> None:
    for one in many:
        web.add(method, f"{URL}/x", **{"headers": DATE, **one})


def test_a_read_is_tried_three_times_and_then_is_a_retry(transport: Transport, web: responses.RequestsMock) -> None:
    answers(web, "GET", {"status": 502}, {"status": 503}, {"status": 500})
    with pytest.raises(Retry, match="3 times"):
        transport.get("/x")
    assert len(web.calls) == 3


@pytest.mark.parametrize("body", ['{"cut": ', "<html>Unicorn!</html>", ""])
def test_P28_an_answer_that_is_not_whole_json_is_trouble_and_not_an_empty_list(
    transport: Transport, web: responses.RequestsMock, body: str
) -> None:
    answers(web, "GET", {"body": body}, {"json": [1]})
    assert transport.get("/x").data == [1]


@pytest.mark.parametrize("trouble", [{"status": 502}, {"body": requests.ConnectionError("reset")}, {"body": "{"}])
def test_L3_a_write_without_a_clear_answer_is_unknown_and_sent_once(
    transport: Transport, web: responses.RequestsMock, trouble: dict[str, Any]
) -> None:
    answers(web, "PUT", trouble)
    with pytest.raises(Unknown):
        transport.write("PUT", "/x", {"sha": "a"})
    assert len(web.calls) == 1


def test_P23_an_exhausted_limit_waits_until_the_reset_and_one_second(
    transport: Transport, web: responses.RequestsMock, clock: VirtualClock
) -> None:
    start = clock.now()
    spent = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(1795255200 + 90), **DATE}
    answers(web, "GET", {"status": 403, "json": {"message": "API rate limit exceeded"}, "headers": spent}, {"json": {}})
    transport.get("/x")
    assert clock.now() - start == pytest.approx(91)
    assert len(web.calls) == 2


def test_P24_a_secondary_limit_obeys_retry_after_and_the_write_is_sent_again(
    transport: Transport, web: responses.RequestsMock, clock: VirtualClock
) -> None:
    start = clock.now()
    answers(web, "POST", {"status": 429, "json": {}, "headers": {"Retry-After": "17", **DATE}}, {"json": {"id": 1}})
    assert transport.write("POST", "/x", {}).data == {"id": 1}
    assert clock.now() - start >= 17


def test_P24_writes_are_a_second_apart(transport: Transport, web: responses.RequestsMock, clock: VirtualClock) -> None:
    answers(web, "POST", {"json": {}}, {"json": {}}, {"json": {}})
    start = clock.now()
    for _ in range(3):
        transport.write("POST", "/x", {})
    assert clock.now() - start >= 2


def test_P25_a_limit_without_a_time_waits_a_minute_and_longer_each_time(
    transport: Transport, web: responses.RequestsMock, clock: VirtualClock
) -> None:
    start = clock.now()
    limited = {"status": 403, "json": {"message": "You have exceeded a secondary rate limit"}}
    answers(web, "GET", limited, limited, {"json": {}})
    transport.get("/x")
    assert clock.now() - start >= 60 + 120


def test_P25_a_plain_403_is_a_no_and_not_a_limit(transport: Transport, web: responses.RequestsMock) -> None:
    answers(web, "GET", {"status": 403, "json": {"message": "Resource not accessible by personal access token"}})
    with pytest.raises(ApiError, match="not accessible") as no:
        transport.get("/x")
    assert no.value.status == 403


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_an_error_and_is_not_followed(
    transport: Transport, web: responses.RequestsMock, status: int
) -> None:
    answers(web, "GET", {"status": status, "headers": {"Location": f"{URL}/repositories/1", **DATE}, "json": {}})
    with pytest.raises(Moved):
        transport.get("/x")


def test_every_page_that_github_links_is_read(transport: Transport, web: responses.RequestsMock) -> None:
    link = {"Link": f'<{URL}/repositories/1/x?page=2>; rel="next"', **DATE}
    answers(web, "GET", {"json": [1, 2], "headers": link})
    web.add("GET", f"{URL}/repositories/1/x?page=2", json=[3], headers=DATE)
    assert list(transport.pages("/x")) == [1, 2, 3]


def test_K3_fewer_items_than_github_counts_is_an_error(transport: Transport, web: responses.RequestsMock) -> None:
    answers(web, "GET", {"json": {"total_count": 3, "check_runs": [1, 2]}})
    with pytest.raises(Retry, match="counts 3"):
        list(transport.pages("/x"))


def test_a_304_is_an_answer_without_data(transport: Transport, web: responses.RequestsMock) -> None:
    answers(web, "GET", {"status": 304})
    assert transport.get("/x", etag='W/"1"') == Answer(304, transport.get("/x", etag='W/"1"').headers, None)
    assert web.calls[0].request.headers["If-None-Match"] == 'W/"1"'


def test_the_token_and_the_version_are_sent(transport: Transport, web: responses.RequestsMock) -> None:
    answers(web, "GET", {"json": {}})
    transport.get("/x")
    sent = web.calls[0].request.headers
    assert sent["Authorization"] == "token secret-token"
    assert sent["X-GitHub-Api-Version"] == "2022-11-28"


def test_a_stop_ends_the_wait_for_a_limit(web: responses.RequestsMock, clock: VirtualClock) -> None:
    stop = Stop()
    transport = Transport("https://api.github.com", "t", clock, stop)
    stop.set("the daemon stops")
    answers(web, "GET", {"status": 429, "json": {}, "headers": {"Retry-After": "3600", **DATE}})
    with pytest.raises(Stopped, match="the daemon stops"):
        transport.get("/x")
    transport.close()


def test_a_graphql_answer_with_errors_is_not_data(transport: Transport, web: responses.RequestsMock) -> None:
    web.add("POST", f"{URL}/graphql", json={"errors": [{"message": "Something went wrong"}], "data": None})
    with pytest.raises(Retry, match="Something went wrong"):
        transport.graphql("Q", "query Q { viewer { login } }", {})


def test_the_environment_names_proxy_and_certificates_once_for_each_connection(
    transport: Transport, web: responses.RequestsMock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.test:3128")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "bundle.pem"))
    monkeypatch.setenv("NO_PROXY", "elsewhere.test")
    answers(web, "GET", {"json": 1}, {"json": 2}, {"json": 3})
    for proxy in ("http://proxy.test:3128", "http://proxy.test:3128", None):
        if proxy is None:
            monkeypatch.setenv("NO_PROXY", "api.github.com")
            transport.forget()
        transport.get("/x")
        request: Any = web.calls[-1].request
        told = request.req_kwargs
        assert (told["proxies"].get("https"), told["verify"]) == (proxy, str(tmp_path / "bundle.pem"))
        monkeypatch.setenv("HTTPS_PROXY", "http://another.test:3128")
