"""What every request passes first: host, origin and token checks, an id, and headers that keep browsers out.

A page from elsewhere must not use this server through a visitor's browser (cross-site requests, DNS rebinding), so
every method is held to an allow-list of hosts and origins, and no cross-origin headers are ever sent.
"""

from __future__ import annotations

import hmac
import secrets
import sys
import traceback
from collections.abc import Mapping
from urllib.parse import urlsplit

from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sartor.language import say
from sartor.serve.page import reader_language
from sartor.serve.settings import LOOPBACK_NAMES, Settings, is_address, is_loopback

OPEN_PATHS = frozenset({"/", "/v2/health/live", "/v2/health/ready"})
"""Need no token: the page holds nothing until a token is typed in, and supervisors ask for health."""

_WILDCARDS = frozenset({"0.0.0.0", "::"})
_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
    (b"cross-origin-resource-policy", b"same-origin"),
)


class Problem(Exception):
    """An answer that is an error: HTTP status, one sentence without paths or values of ours, and headers."""

    def __init__(self, status: int, sentence: str, headers: Mapping[str, str] | None = None) -> None:
        self.status, self.sentence, self.headers = status, sentence, dict(headers or {})
        super().__init__(sentence)

    def answer(self, scope: Scope) -> Response:
        """The response, with the request's id, in the language the reader asked for."""
        closing = {"connection": "close"} if self.status in (408, 413) else {}
        said = {"error": say(self.sentence, scope["language"]), "id": scope["request_id"]}
        return JSONResponse(said, self.status, {**self.headers, **closing})


FAILURE = Problem(500, "the server failed on this request; its log says more under this id")


class Guard:
    """ASGI middleware around the whole application; also the one place where errors become answers."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app, self.settings = app, settings
        self._names = {name.lower() for name in (*LOOPBACK_NAMES, *settings.names)}
        if settings.host not in _WILDCARDS:
            self._names.add(settings.host.lower())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return  # no websockets
        number, started = secrets.token_hex(8), False

        async def send_guarded(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = [*message["headers"], *_HEADERS, (b"x-request-id", number.encode())]
            await send(message)

        scope["request_id"] = number
        accepted = [value.decode("latin-1") for name, value in scope["headers"] if name.lower() == b"accept-language"]
        scope["language"] = reader_language(",".join(accepted))
        try:
            self._check(scope)
            await self.app(scope, receive, send_guarded)
        except Problem as problem:
            if not started:
                await problem.answer(scope)(scope, receive, send_guarded)
        except Exception:
            print(f"request {number} failed\n{traceback.format_exc()}", file=sys.stderr)
            if not started:
                await FAILURE.answer(scope)(scope, receive, send_guarded)

    def _check(self, scope: Scope) -> None:
        headers = [(name.lower(), value.decode("latin-1")) for name, value in scope["headers"]]
        hosts = [value for name, value in headers if name == b"host"]
        if len(hosts) != 1 or not self._allowed(_host_name(hosts[0])):
            raise Problem(403, "this server is not reached under that host name; start it with --allow-host NAME")
        origins = [value for name, value in headers if name == b"origin"]
        if any(urlsplit(origin).netloc.lower() != hosts[0].lower() for origin in origins):
            raise Problem(403, "requests from pages of another origin are refused")
        if any(value not in ("same-origin", "none") for name, value in headers if name == b"sec-fetch-site"):
            raise Problem(403, "requests from pages of another site are refused")
        if self.settings.token and scope["path"] not in OPEN_PATHS:
            given = [value for name, value in headers if name == b"authorization"]
            expected = f"Bearer {self.settings.token}"
            if len(given) != 1 or not hmac.compare_digest(given[0].encode("latin-1"), expected.encode()):
                raise Problem(
                    401, "a token is needed: send Authorization: Bearer TOKEN", {"www-authenticate": "Bearer"}
                )

    def _allowed(self, name: str) -> bool:
        if name in self._names:
            return True
        # A rebinding attack needs a name of its own; a literal address cannot be rebound.
        if is_loopback(self.settings.host):
            return is_loopback(name)
        return self.settings.host in _WILDCARDS and is_address(name)


def _host_name(host: str) -> str:
    """The name in a Host header, without port and brackets; empty where it is none."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""
