"""The refusal of a request, with its HTTP status."""

from egtr.structures import EGTRError


class RefusedError(EGTRError):
    """A request that is refused.

    Attributes:
        status: the HTTP status, 4xx or 5xx.
        headers: headers of the answer.
    """

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None):
        super().__init__(message)
        self.status = status
        self.headers = headers
