"""Who may use the page: the address, the token, the cookie and the headers that every request is checked for.

The page is for the browsers of this machine. What could reach it besides them: other machines (it is bound to
127.0.0.1), other users of this machine (they lack the token), and pages of other origins in the same browser. These
cannot read the token or the cookie (SameSite=Strict); a name of their own that leads to 127.0.0.1 (DNS rebinding) is
refused by its Host header; and their requests are refused by Sec-Fetch-Site, by Origin, and because they cannot add
the header `HEADER` without asking first.
"""

from __future__ import annotations

import hmac
import ipaddress
import logging
from collections.abc import Collection
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stylecore.web.store import Store

COOKIE = "stylecore"
HEADER = "x-stylecore"

_COOKIE_DAYS = 365

_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; media-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}

_log = logging.getLogger("stylecore.web")


class Guard:
    """Middleware that refuses requests, finds the session of the others, and adds the headers of the policy.

    The session is in the request's scope, as "session".

    Parameters
    ----------
    app : ASGI application
    store : Store
    token : str
        With it in the address, a browser without a session gets one.
    hosts : collection of str
        Names by which the server may be addressed, without the port; "*" stands for every IP address.
    port : int
    """

    def __init__(self, app: ASGIApp, store: Store, token: str, hosts: Collection[str], port: int) -> None:
        self._app = app
        self._store = store
        self._token = token
        self._hosts = hosts
        self._port = port

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        cookie = None

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                added = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    added[name] = value
                added.setdefault("cache-control", "no-store")
                if cookie is not None:
                    added["set-cookie"] = cookie
            await send(message)

        if scope["type"] != "http":  # There are no web sockets here.
            await send({"type": "websocket.close", "code": 1008})
            return
        status, reason = self._problem(scope, headers)
        key = _key(headers)
        session = self._store.session(key) if key else None
        if not status and session is None:
            if self._has_token(scope):
                key, session = self._store.new_session()
            else:
                status, reason = 403, "Open the address that `stylecore serve` has printed: it ends with a token."
        if status:
            _log.warning("refused with %d: %s %.200r", status, scope["method"], scope["path"])
            await PlainTextResponse(reason, status)(scope, receive, send_with_headers)
            return
        if self._has_token(scope):  # Renewed with each visit.
            cookie = f"{COOKIE}={key}; Path=/; Max-Age={_COOKIE_DAYS * 86400}; HttpOnly; SameSite=Strict"
        scope["session"] = session
        await self._app(scope, receive, send_with_headers)

    def _problem(self, scope: Scope, headers: Headers) -> tuple[int, str]:
        """Status and reason with which a request is refused; 0 if it is not."""
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._is_own(hosts[0]):
            return 400, "This server is not addressed by that name."
        if scope["method"] in ("GET", "HEAD"):
            return 0, ""
        site, origin = headers.get("sec-fetch-site", "same-origin"), headers.get("origin")
        if site != "same-origin" or headers.get(HEADER) != "1":
            return 403, "Only the page itself may send this."
        if origin is not None and origin != f"http://{hosts[0]}":
            return 403, "Only the page itself may send this."
        return 0, ""

    def _is_own(self, host: str) -> bool:
        name, colon, port = host.rpartition(":")
        if not colon or not port.isdecimal():
            name, port = host, "80"
        if int(port) != self._port:
            return False
        return name in self._hosts or ("*" in self._hosts and _is_address(name.strip("[]")))

    def _has_token(self, scope: Scope) -> bool:
        if scope["path"] != "/" or b"token" not in scope["query_string"]:
            return False
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[-1]
        return hmac.compare_digest(given.encode(), self._token.encode())


def _key(headers: Headers) -> str | None:
    try:
        cookies = SimpleCookie(headers.get("cookie", ""))
    except CookieError:
        return None
    return cookies[COOKIE].value if COOKIE in cookies else None


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
