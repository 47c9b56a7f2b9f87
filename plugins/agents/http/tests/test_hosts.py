"""Where requests go, also by way of redirects, and what goes along with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from aats_agent_http import Http
from aats_agent_http.request import Request, check_allowed, first_target
from pydantic import ValidationError
from yarl import URL

from aats_core.errors import TaskFailed

Call = Callable[..., Any]


def allowed(url: str, *allow: str) -> bool:
    settings = Http.Settings(allow=list(allow))
    try:
        check_allowed(first_target(Request(url), settings, "plan/task"), settings)
    except TaskFailed:
        return False
    return True


class TestAllow:
    @pytest.mark.parametrize(
        ("url", "entry"),
        [
            ("https://api.example/x", "api.example"),
            ("https://API.Example./x", "api.example"),
            ("http://api.example:8080/", "api.example"),
            ("http://api.example:8080/", "api.example:8080"),
            ("https://api.example/", "API.example:443"),
            ("https://a.b.internal.example/", "*.internal.example"),
            ("https://user:pw@api.example/", "api.example"),
            ("http://[::1]:8080/", "[::1]:8080"),
            ("http://[::1]/", "::1"),
        ],
    )
    def test_a_listed_host_may_be_called(self, url: str, entry: str) -> None:
        assert allowed(url, "other.example", entry)

    @pytest.mark.parametrize(
        ("url", "entry"),
        [
            ("https://evil.example/", "api.example"),
            ("https://api.example.evil.example/", "api.example"),
            ("https://notapi.example/", "api.example"),
            ("https://sub.api.example/", "api.example"),
            ("https://api.example:8443/", "api.example:443"),
            ("https://internal.example/", "*.internal.example"),
            ("https://evilinternal.example/", "*.internal.example"),
            ("https://api.example@evil.example/", "api.example"),
            ("https://evil.example/?api.example", "api.example"),
            ("https://evil.example/#@api.example", "api.example"),
            ("https://evil.example\\@api.example/", "api.example"),
            ("http://127.0.0.1/", "localhost"),
            ("http://2130706433/", "127.0.0.1"),
        ],
    )
    def test_any_other_host_is_refused(self, url: str, entry: str) -> None:
        assert not allowed(url, entry)

    def test_an_empty_list_allows_none(self) -> None:
        assert not allowed("https://api.example/")

    def test_the_refusal_names_the_host_and_what_is_allowed_and_is_for_good(self, call: Call, server: Any) -> None:
        server.answer("/")
        with pytest.raises(
            TaskFailed, match=r"127\.0\.0\.1:\d+ is not among the allowed hosts: api\.example"
        ) as failed:
            call(f"{server.url}/", settings={"allow": ["api.example"]})
        assert not failed.value.retry
        assert server.asked == []

    def test_the_host_of_the_base_is_allowed(self, call: Call, server: Any, other_server: Any) -> None:
        server.answer("/x")
        settings = {"base_url": server.url, "allow": []}
        assert call("x", settings=settings)["status"] == 200
        with pytest.raises(TaskFailed, match="not among the allowed hosts: none"):
            call(f"{other_server.url}/x", settings=settings)

    @pytest.mark.parametrize("entry", ["", "https://api.example", "api.example/v1", "a*.example", "*"])
    def test_an_entry_that_is_no_host_is_not_valid(self, entry: str) -> None:
        with pytest.raises(ValidationError, match=r"write `host`, `host:port` or `\*\.domain`"):
            Http.Settings(allow=["api.example", entry])


def redirect(server: Any, path: str, to: str, status: int = 302) -> None:
    server.answer(path, status=status, headers={"Location": to})


class TestRedirect:
    @pytest.mark.parametrize(
        ("status", "method", "then", "body"),
        [
            (301, "POST", "GET", ""),
            (302, "POST", "GET", ""),
            (303, "PUT", "GET", ""),
            (303, "HEAD", "HEAD", ""),
            (301, "PUT", "PUT", "text"),
            (307, "POST", "POST", "text"),
            (308, "PATCH", "PATCH", "text"),
            (302, "GET", "GET", ""),
        ],
    )
    def test_it_is_followed_with_the_method_that_its_status_asks_for(
        self, call: Call, server: Any, status: int, method: str, then: str, body: str
    ) -> None:
        redirect(server, "/from", "/to?x=1", status)
        server.answer("/to")
        call(f"{server.url}/from", method=method, data=None if method in ("GET", "HEAD") else "text")
        asked = server.asked[1]
        assert (asked["method"], asked["path"], asked["query"], asked["body"]) == (then, "/to", [("x", "1")], body)

    def test_a_redirect_that_is_expected_is_not_followed(self, call: Call, server: Any) -> None:
        redirect(server, "/from", "/to")
        assert call(f"{server.url}/from", expect=[302])["headers"]["location"] == "/to"

    def test_a_redirect_to_a_host_that_is_not_allowed_is_refused(
        self, call: Call, server: Any, other_server: Any
    ) -> None:
        redirect(server, "/from", f"{other_server.url}/to?secret=1")
        with pytest.raises(TaskFailed, match="not among the allowed hosts") as failed:
            call(f"{server.url}/from", settings={"allow": [f"127.0.0.1:{URL(server.url).port}"]})
        assert not failed.value.retry
        assert "secret" not in str(failed.value)
        assert other_server.asked == []

    @pytest.mark.parametrize("to", ["file:///etc/passwd", "gopher://127.0.0.1/", "http:///path", "http://[broken"])
    def test_a_redirect_to_what_is_no_server_is_refused(self, call: Call, server: Any, to: str) -> None:
        redirect(server, "/from", to)
        with pytest.raises(TaskFailed) as failed:
            call(f"{server.url}/from")
        assert not failed.value.retry

    def test_redirects_without_end_are_given_up(self, call: Call, server: Any) -> None:
        redirect(server, "/", "/")
        with pytest.raises(TaskFailed, match="more than 10 redirects") as failed:
            call(f"{server.url}/")
        assert not failed.value.retry
        assert len(server.asked) == 11


SECRET = {"Authorization": "Bearer hunter2-of-http"}


class TestCredentials:
    def test_the_agents_headers_go_along_and_a_task_may_replace_them(self, call: Call, server: Any) -> None:
        server.answer("/")
        call(f"{server.url}/", settings={"headers": {**SECRET, "X-Team": "a"}})
        call(f"{server.url}/", headers={"x-team": "b"}, settings={"headers": {**SECRET, "X-Team": "a"}})
        assert [asked["headers"]["Authorization"] for asked in server.asked] == ["Bearer hunter2-of-http"] * 2
        assert [asked["headers"].getall("X-Team") for asked in server.asked] == [["a"], ["b"]]

    def test_with_a_base_the_agents_headers_go_nowhere_else(self, call: Call, server: Any, other_server: Any) -> None:
        server.answer("/")
        other_server.answer("/")
        settings = {"base_url": server.url, "headers": SECRET}
        call("/", settings=settings)
        call(f"{other_server.url}/", settings=settings)
        assert "Authorization" in server.asked[0]["headers"]
        assert "Authorization" not in other_server.asked[0]["headers"]

    def test_a_redirect_to_another_origin_takes_no_credentials_along(
        self, call: Call, server: Any, other_server: Any
    ) -> None:
        redirect(server, "/near", "/to")
        redirect(server, "/far", f"{other_server.url}/to")
        server.answer("/to")
        other_server.answer("/to")
        headers = {"cookie": "session=1", "X-Trace": "t"}
        for path in ("/near", "/far"):
            call(f"{server.url}{path}", headers=headers, settings={"headers": {**SECRET, "X-Api-Key": "hunter3"}})
        near, far = server.asked[1]["headers"], other_server.asked[0]["headers"]
        names = ["Authorization", "Cookie", "X-Api-Key", "X-Trace"]
        assert [name for name in names if name in near] == names
        assert [name for name in names if name in far] == ["X-Trace"]

    def test_no_secret_stands_in_an_error(self, call: Call, server: Any, unused_port: int) -> None:
        server.answer("/echo", "you sent Bearer hunter2-of-http, that is hunter2-of-http", status=403)
        addresses = {
            f"http://user:hunter4@127.0.0.1:{URL(server.url).port}/?token=hunter4": {},
            f"http://user:hunter4@127.0.0.1:{unused_port}/?token=hunter4": {},
            f"{server.url}/echo?token=hunter4#hunter4": {"headers": SECRET},
        }
        for url, settings in addresses.items():
            with pytest.raises(TaskFailed) as failed:
                call(url, settings=settings)
            assert "hunter" not in str(failed.value)
