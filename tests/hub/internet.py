"""The internet on this machine: Google Drive, a plain server and the Hugging Face Hub, as they answer.

``Internet`` is a proxy that answers for every host itself, over TLS, with certificates of an authority of its own.
"""

import contextlib
import hashlib
import html
import json
import re
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import trustme

from tests.hub.uploads import TOKEN, Uploads

COMMIT = "c" * 40


@dataclass
class Served:
    """A file, and the ways in which its server fails.

    Attributes:
        content: the bytes.
        ranges: whether the server continues a file where a client stopped.
        cuts: number of bytes after which the connection breaks, for each request that is cut.
        statuses: answers before the first good one, such as 503.
        announced: the length that is announced, if it is wrong.
        pause: seconds between pieces of ``piece`` bytes.
        kind: Content-Type.
        redirect: the address that the server sends clients to.
        head: whether it answers HEAD.
        quota: whether Google Drive has no quota left for it.
        page: Google Drive asks to confirm large files.
    """

    content: bytes = b""
    ranges: bool = True
    cuts: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    announced: int | None = None
    pause: float = 0.0
    piece: int = 1 << 16
    kind: str = "application/octet-stream"
    redirect: str = ""
    head: bool = True
    quota: bool = False
    page: bool = True


class Internet:
    """Files by address, and what was asked for.

    Attributes:
        files: ``https://host/path`` to file; ``gdrive:ID`` for Google Drive; ``hf:USER/REPOSITORY/FILE`` for the Hub.
        asked: method, address and Range header of each request.
        proxy: address of the proxy, for HTTPS_PROXY.
        hub: address of the Hub without TLS, for HF_ENDPOINT.
        ca_file: the authority's certificate, for REQUESTS_CA_BUNDLE.
    """

    def __init__(self, ca_file: str):
        self.files: dict[str, Served] = {}
        self.asked: list[tuple[str, str, str]] = []
        self.authority = trustme.CA()
        self.authority.cert_pem.write_to_path(ca_file)
        self.ca_file = ca_file
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"internet": self}))
        self._server.daemon_threads = True
        self.proxy = self.hub = f"http://127.0.0.1:{self._server.server_port}"

    @contextlib.contextmanager
    def running(self) -> Iterator["Internet"]:
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()

    def context(self, host: str) -> ssl.SSLContext:
        if host not in self._contexts:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.authority.issue_cert(host).configure_cert(context)
            self._contexts[host] = context
        return self._contexts[host]

    def gets(self, part: str) -> list[str]:
        """The Range headers of GET requests whose address contains ``part``."""
        return [span for method, address, span in self.asked if method == "GET" and part in address]


class _Handler(Uploads, BaseHTTPRequestHandler):
    internet: Internet
    protocol_version = "HTTP/1.1"
    host = ""

    def log_message(self, *args) -> None:
        pass

    def do_CONNECT(self) -> None:
        self.host = self.path.partition(":")[0]
        self.send_response_only(200)
        self.end_headers()
        try:
            self.connection = self.internet.context(self.host).wrap_socket(self.connection, server_side=True)
        except (ssl.SSLError, OSError):
            self.close_connection = True
            return
        self.rfile.close()
        self.rfile = self.connection.makefile("rb")
        self.wfile = self.connection.makefile("wb", buffering=0)
        self.close_connection = False

    def finish(self) -> None:
        super().finish()
        if self.host:
            # The server only closes the socket below TLS.
            self.connection.close()

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        address = f"https://{self.host}{self.path}" if self.host else self.path
        self.internet.asked.append((self.command, address, self.headers.get("Range", "")))
        with contextlib.suppress(BrokenPipeError, ConnectionResetError, ssl.SSLError):
            if self.host in ("drive.google.com", "drive.usercontent.google.com"):
                self._drive(body)
            elif not self.host:
                self._hub(body)
            else:
                self._file(self.internet.files.get(address), body)

    def _drive(self, body: bool) -> None:
        query = parse_qs(urlsplit(self.path).query)
        number = query.get("id", [""])[0]
        served = self.internet.files.get(f"gdrive:{number}")
        if served is None:
            return self._page(_NO_FILE, body, 404)
        if self.host == "drive.google.com":
            place = f"https://drive.usercontent.google.com/download?id={number}&export=download"
            return self._redirect(place, 303)
        if served.quota:
            return self._page(_QUOTA, body)
        if served.page and "confirm" not in query:
            return self._page(_CONFIRM.format(number=html.escape(number)), body)
        self._file(served, body, {"Content-Disposition": f'attachment; filename="{number}.bin"'})

    def _hub(self, body: bool) -> None:
        path = urlsplit(self.path).path
        if self.internet.__dict__.get("private") and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._page("Invalid username or password.", body, 401)
        if found := re.fullmatch(r"/(?:datasets/)?([^/]+/[^/]+)/resolve/[^/]+/(.+)", path):
            served = self.internet.files.get(f"hf:{found[1]}/{found[2]}")
            if served is None:
                return self._page("Entry not found", body, 404, {"X-Error-Code": "EntryNotFound"})
            digest = hashlib.sha256(served.content).hexdigest()
            return self._file(served, body, {"X-Repo-Commit": COMMIT, "ETag": f'"{digest}"'})
        if found := re.fullmatch(r"/api/(?:models|datasets)/([^/]+/[^/]+)(?:/(revision|tree)/[^/]+)?", path):
            start = f"hf:{found[1]}/"
            files = {name.removeprefix(start): f for name, f in self.internet.files.items() if name.startswith(start)}
            tree = [{"type": "file", "path": n, "size": len(f.content), "oid": "0" * 40} for n, f in files.items()]
            siblings = [{"rfilename": name, "size": len(f.content)} for name, f in files.items()]
            record = {"id": found[1], "sha": COMMIT, "siblings": siblings}
            answer = json.dumps(tree if found[2] == "tree" else record)
            return self._page(answer, body, 200 if files else 404, {"Content-Type": "application/json"})
        self._page("no such page", body, 404)

    def _file(self, served: Served | None, body: bool, headers: dict | None = None) -> None:
        if served is None or (not body and not served.head):
            return self._page("not found", body, 404 if body else 405)
        if served.redirect:
            return self._redirect(served.redirect, 302)
        if body and served.statuses:
            return self._page("busy", body, served.statuses.pop(0))
        content, total = served.content, len(served.content)
        tag = f'"{hashlib.md5(content).hexdigest()}"'
        headers = {"ETag": tag, "Content-Type": served.kind} | (headers or {})
        span = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        condition = self.headers.get("If-Range", headers["ETag"])
        start = int(span[1]) if span and served.ranges and condition == headers["ETag"] else 0
        if start and start >= total:
            return self._page("", body, 416)
        end = min(int(span[2]) + 1, total) if span and span[2] and start else total
        self.send_response_only(206 if start else 200)
        if start:
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{total}"
        if served.ranges:
            headers["Accept-Ranges"] = "bytes"
        length = end - start if served.announced is None else served.announced
        for name, value in ({"Content-Length": length} | headers).items():
            self.send_header(name, str(value))
        self.end_headers()
        if not body:
            return
        stop = start + served.cuts.pop(0) if served.cuts else end
        for place in range(start, min(stop, end), served.piece):
            self.wfile.write(content[place : min(place + served.piece, stop, end)])
            time.sleep(served.pause)
        if stop < end or served.announced is not None:
            self.close_connection = True

    def _redirect(self, place: str, status: int) -> None:
        self.send_response_only(status)
        self.send_header("Location", place)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _page(self, text: str, body: bool, status: int = 200, headers: dict | None = None) -> None:
        data = text.encode()
        self.send_response_only(status)
        for name, value in ({"Content-Type": "text/html; charset=utf-8"} | (headers or {})).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if body:
            self.wfile.write(data)


# Google Drive sends its pages on one line.
_CONFIRM = (
    "<!DOCTYPE html><html><head><title>Google Drive - Virus scan warning</title></head><body>"
    '<p class="uc-warning-caption">Google Drive can\'t scan this file for viruses.</p>'
    '<form id="download-form" action="https://drive.usercontent.google.com/download" method="get">'
    '<input type="submit" value="Download anyway"/><input type="hidden" name="id" value="{number}">'
    '<input type="hidden" name="export" value="download"><input type="hidden" name="confirm" value="t">'
    '<input type="hidden" name="uuid" value="1-2-3"></form></body></html>'
)
_QUOTA = """<!DOCTYPE html><html><head><title>Google Drive - Quota exceeded</title></head><body>
<p class="uc-error-caption">Sorry, you can't view or download this file at this time.</p>
<p class="uc-error-subcaption">Too many users have viewed or downloaded this file recently.</p>
</body></html>"""
_NO_FILE = "<!DOCTYPE html><html><head><title>Error 404</title></head><body>not found</body></html>"
