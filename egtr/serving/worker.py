"""The thread in which images are decoded, computed and drawn, one at a time."""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from .errors import RefusedError
from .limits import Limits

RETRY_AFTER = 2


class Worker:
    """Runs functions one after the other, in a thread beside the event loop, which keeps answering.

    Two at once would not be faster, because a single one uses all cores or the whole GPU.
    """

    def __init__(self, limits: Limits):
        self.limits = limits
        self._present = 0
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="models")

    @contextmanager
    def place(self) -> Iterator[None]:
        """Take a place among the requests whose images are held in memory, and give it back.

        Raises:
            RefusedError: 503, all places are taken.
        """
        if self._present >= self.limits.max_requests:
            message = f"{self._present} images are waiting already; try again in {RETRY_AFTER} s"
            raise RefusedError(503, message, {"Retry-After": str(RETRY_AFTER)})
        self._present += 1
        try:
            yield
        finally:
            self._present -= 1

    async def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call ``function(*args)`` when its turn comes, and return its result.

        A call that exceeds the time limit is given up. If it has already begun, it runs to its end and its result is
        discarded.

        Raises:
            RefusedError: 504, it took too long.
        """
        result = asyncio.wrap_future(self.submit(function, *args))
        try:
            return await asyncio.wait_for(result, self.limits.timeout)
        except TimeoutError as error:
            message = f"no answer within {self.limits.timeout:g} s; try a smaller image, or later"
            raise RefusedError(504, message) from error

    def submit(self, function: Callable[..., Any], *args: Any) -> Future:
        """Call a function without a time limit, for callers outside the event loop."""
        return self._thread.submit(function, *args)

    def close(self) -> None:
        """Wait for the call that is running, and drop the calls that have not begun."""
        self._thread.shutdown(cancel_futures=True)
