"""One attempt of one call: the `http` object that a Google request is executed on."""

from __future__ import annotations

from collections.abc import Callable

from mail_ingest.errors import ConfigError
from mail_ingest.gmail.refusals import Refusal, classify
from mail_ingest.gmail.transport import Admit, Response, Transport


class RefusedError(Exception):
    """Carries an unsuccessful answer through the Google client."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.status)
        self.refusal = refusal


class Exchange:
    """Adds the token, lets nothing but reads of one mailbox leave, and what has its changes published, and judges the
    answer's status.

    Raises RefusedError for a status other than 2xx, NetworkError where no answer came.
    """

    def __init__(
        self,
        transport: Transport,
        url: str,
        token: str,
        clock: Callable[[], float],
        admit: Admit | None = None,
        largest: int | None = None,
    ) -> None:
        self._transport = transport
        self._root = f"{url}/gmail/v1/users/me/"
        self._token = token
        self._clock = clock
        self._admit = admit
        self._largest = largest
        self.wire_bytes = 0

    def request(self, uri: str, method: str, body: str | None, headers: dict[str, str]) -> tuple[Response, bytes]:
        """The library turns a GET with more than 2,048 characters of address into a POST that says it is a GET."""
        reads = method == "GET" or (method == "POST" and headers.get("x-http-method-override") == "GET")
        asked = uri.partition("?")[0]
        sets_up_push = method == "POST" and asked in (f"{self._root}watch", f"{self._root}stop")
        if not (reads or sets_up_push) or not uri.startswith(self._root):
            raise ConfigError(
                f"refused to send {method} {asked}: only reads under {self._root} may leave, and watch and stop"
            )
        authorized = {**headers, "authorization": f"Bearer {self._token}"}
        response, content = self._transport.request(uri, method, body, authorized, self._admit, self._largest)
        self.wire_bytes = response.wire_bytes
        if not 200 <= response.status < 300:
            raise RefusedError(classify(response.status, response, content, now=self._clock()))
        return response, content
