"""Two rules of HTTP that the framework leaves to applications: HEAD, and answers sent before the upload has ended."""

import asyncio

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Seconds without a byte after which an upload that is dropped counts as given up.
PAUSE = 5.0


class AnswerHead:
    """Answers HEAD as GET; the server sends the headers of that answer only."""

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "HEAD":
            scope = {**scope, "method": "GET"}
        await self.app(scope, receive, send)


class DropUpload:
    """Reads and drops the rest of an upload that was answered early, so that the client reads the answer.

    Many clients read no answer before they have sent everything; if the connection were closed under them, they would
    see only that it was reset. The answer states ``Connection: close`` and is sent at once, for clients that do read
    it. A client that asked whether to send (``Expect: 100-continue``) and has not begun gets only the answer.

    Args:
        app: the application.
        timeout: seconds after which the connection is closed although the upload has not ended.
    """

    def __init__(self, app: ASGIApp, timeout: float):
        self.app = app
        self.timeout = timeout

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        ended = not ("content-length" in headers or "transfer-encoding" in headers)
        begun = headers.get("expect", "").lower() != "100-continue"

        async def receive_part() -> Message:
            nonlocal ended, begun
            begun = True
            message = await receive()
            ended = ended or not message.get("more_body", False)
            return message

        async def drop_rest() -> None:
            while not ended:
                await asyncio.wait_for(receive_part(), PAUSE)

        async def send_part(message: Message) -> None:
            if message["type"] == "http.response.start" and not ended:
                MutableHeaders(scope=message)["Connection"] = "close"
            if message["type"] == "http.response.body" and not message.get("more_body") and begun and not ended:
                await send({**message, "more_body": True})
                message = {"type": "http.response.body"}
                try:
                    await asyncio.wait_for(drop_rest(), self.timeout)
                except TimeoutError:
                    pass
            await send(message)

        await self.app(scope, receive_part, send_part)
