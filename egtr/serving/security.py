"""Access control: programs on this machine and the page itself may send requests, pages of other sites may not."""

import ipaddress
from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from egtr.structures import ConfigurationError

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


def read_public_names(names: Sequence[str]) -> dict[str, str]:
    """Read the names of a proxy.

    Returns:
        a mapping from ``NAME`` or ``NAME:PORT``, as browsers write it in Origin, to the name without port.

    Raises:
        ConfigurationError: one is neither ``NAME`` nor ``NAME:PORT``.
    """
    public = {}
    for name in names:
        origin = _origin(f"https://{name}")
        if not _host_name(origin) or "*" in name or set(name) & set("/@?#, "):
            raise ConfigurationError(
                f"public name {name!r}: give the proxy's name as in the address bar, such as graphs.example.org or "
                "graphs.example.org:8443, without https:// and without a path"
            )
        public[origin] = _host_name(origin)
    return public


class SameOrigin:
    """Refuses requests from pages of other sites, and sets headers that browsers obey.

    A page of another site can point its own name at 127.0.0.1 (DNS rebinding); the Host header shows that. It can
    also send a form to this server; the headers Origin and Sec-Fetch-Site, which a page cannot change, show that.

    Args:
        app: the application to protect.
        only_loopback: refuse requests that address the server by a name that could belong to another machine.
        public_names: names of a proxy, of :func:`read_public_names`. The proxy may pass on the name that the browser
            used, with or without its port, or write its own name for this server into Host.
    """

    def __init__(self, app: ASGIApp, only_loopback: bool, public_names: dict[str, str]):
        self.app = app
        self.any_name = not (only_loopback or public_names)
        self.public_names = public_names

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
        name = _host_name(host)
        if not (self.any_name or is_loopback(name) or name in self.public_names.values()):
            own = ", ".join(("127.0.0.1", "localhost", *self.public_names))
            message = (
                f"this server is not {host!r}; call it by one of its names: {own} (behind a proxy, start it with "
                "--public-name NAME)"
            )
            return JSONResponse({"detail": message}, 421)
        if method in ("GET", "HEAD"):
            return None
        origin = headers.get("origin")
        same = origin is None or self._is_own(origin, host)
        if not same or headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            message = f"requests of other pages are refused ({origin}); call the API from a program"
            return JSONResponse({"detail": message}, 403)
        return None

    def _is_own(self, origin: str, host: str) -> bool:
        own = _origin(origin)
        # A proxy may have dropped the port from Host, which would make another port of its machine the same.
        if own in self.public_names or _host_name(host) in self.public_names.values():
            return own in self.public_names
        scheme = origin.partition("://")[0]
        return own != "" and own == _origin(f"{scheme}://{host}")


def _origin(address: str) -> str:
    """Return the name of an address, in ASCII, and its port if it is not the usual one; "" if there is no name."""
    try:
        parts = urlsplit(address.lower())
        name, port = parts.hostname or "", parts.port
        name = name if ":" in name else name.encode("idna").decode()
    except ValueError:
        return ""
    name = f"[{name}]" if ":" in name else name
    return name if port in (None, {"http": 80, "https": 443}.get(parts.scheme)) else f"{name}:{port}"


def _host_name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
