"""What a request can fail with: an HTTP status and one sentence for the person at the browser."""


class Refused(Exception):
    """A request that is answered with ``status`` and a sentence that says what is wrong and what to do."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
