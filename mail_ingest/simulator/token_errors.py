"""Refusals of the token endpoint, which has a shape of its own."""


class TokenError(Exception):
    """`{"error": ..., "error_description": ...}` with its status."""

    def __init__(self, error: str, description: str, status: int = 400) -> None:
        super().__init__(f"{error}: {description}")
        self.status = status
        self.body = {"error": error, "error_description": description}
