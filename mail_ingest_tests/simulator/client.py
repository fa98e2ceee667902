"""A plain HTTP client for the tests of the simulator: no Gmail library, nothing of ours."""

import http.client
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

USERS = "/gmail/v1/users/me"


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    data: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.data)

    @property
    def reason(self) -> str:
        return self.json["error"]["errors"][0]["reason"]

    @property
    def message(self) -> str:
        return self.json["error"]["message"]


class Client:
    """One keep-alive connection with one bearer token."""

    def __init__(self, url: str, token: str | None) -> None:
        self.token = token
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=20)

    def close(self) -> None:
        self._connection.close()

    def request(
        self, verb: str, path: str, body: bytes | dict[str, Any] | None = None, headers: dict[str, str] | None = None
    ) -> Answer:
        sent = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        if isinstance(body, dict):
            sent["Content-Type"] = "application/json"
            body = json.dumps(body).encode()
        sent |= headers or {}
        self._connection.request(verb, path, body=body, headers=sent)
        response = self._connection.getresponse()
        return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())

    def get(self, path: str, **params: Any) -> Answer:
        query = urlencode(params, doseq=True)
        return self.request("GET", f"{USERS}/{path}{'?' if query else ''}{query}")

    def post(self, path: str, body: dict[str, Any] | None = None) -> Answer:
        return self.request("POST", f"{USERS}/{path}", body if body is not None else {})

    def pages(self, path: str, key: str, **params: Any) -> list[Any]:
        """Everything that a listing gives, page after page."""
        found: list[Any] = []
        while True:
            page = self.get(path, **params).json
            found += page.get(key, [])
            if "nextPageToken" not in page:
                return found
            params["pageToken"] = page["nextPageToken"]
