"""Access control: programs on this machine and the page itself may send requests, pages of other sites may not."""

import ipaddress
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = {
    "Cache-Control": "no-store",
    # The page states its own beside this one, and a browser keeps to both.
    "Content-Security-Policy": "frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def is_loopback(host: str) -> bool:
    """Tell whether a name or address always means the machine that uses it (loopback)."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class SameOrigin:
    """Refuses requests from pages of other sites, and sets headers that browsers obey.

    A page of another site can point its own name at 127.0.0.1 (DNS rebinding); the Host header shows that. It can
    also send a form to this server; the headers Origin and Sec-Fetch-Site, which a page cannot change, show that.

    Args:
        app: the application to protect.
        only_loopback: refuse requests that address the server by a name that could belong to another machine.
    """

    def __init__(self, app: ASGIApp, only_loopback: bool):
        self.app = app
        self.only_loopback = only_loopback

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        refusal = self._check(scope["method"], Headers(scope=scope))
        await (refusal or self.app)(scope, receive, send_with_headers)

    def _check(self, method: str, headers: Headers) -> JSONResponse | None:
        host = headers.get("host", "")
        if self.only_loopback and not is_loopback(_host_name(host)):
            message = f"this server answers only its own machine, not {host!r}; call it 127.0.0.1 or localhost"
            return JSONResponse({"detail": message}, 421)
        if method in ("GET", "HEAD"):
            return None
        origin = headers.get("origin")
        same = origin is None or urlsplit(origin).netloc.lower() == host.lower()
        if not same or headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            message = f"requests of other pages are refused ({origin}); call the API from a program"
            return JSONResponse({"detail": message}, 403)
        return None


def _host_name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
