"""A Pub/Sub subscription, pulled: messages come with what acknowledges them, and come again until that is done.

Google's own client is used, with application-default credentials, or without any on the emulator that PUBSUB_EMULATOR_HOST
names. It is imported at the first pull, because it takes half a second and is an extra (`pip install 'mail-ingest[push]'`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn

from mail_ingest.errors import ConfigError, ServerError

if TYPE_CHECKING:
    from google.cloud.pubsub_v1 import SubscriberClient

#: Messages of one pull: what Gmail publishes has 100 bytes, Pub/Sub's own frame around it some more.
MOST_AT_ONCE = 500
#: A pull waits for a message; a connection that is opened for it takes longer.
_WAIT_S = 1.0
_FIRST_WAIT_S = 10.0
_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Received:
    """One message. Its bytes name a mailbox, and stay out of `repr`."""

    ack_id: str = field(repr=False)
    data: bytes = field(repr=False)


class Subscription:
    """One subscription of one process. Opens nothing before the first pull; keeps its connection after that."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._client: SubscriberClient | None = None
        self._wait_s = _FIRST_WAIT_S

    def pull(self) -> list[Received]:
        """What waits, `MOST_AT_ONCE` at most; nothing where no message came within a second.

        Raises ConfigError where the subscription cannot be read before a person acts, ServerError where trying again may help.
        """
        from google.api_core.exceptions import DeadlineExceeded

        client = self._opened()
        try:
            answer = client.pull(subscription=self.name, max_messages=MOST_AT_ONCE, timeout=self._wait_s, retry=None)
        except DeadlineExceeded:
            received = []
        except Exception as error:  # noqa: BLE001  of Google's client, whose texts may hold what was sent
            self._fail("pulled", error)
        else:
            received = [Received(message.ack_id, message.message.data) for message in answer.received_messages]
        self._wait_s = _WAIT_S
        return received

    def acknowledge(self, messages: Sequence[Received]) -> None:
        """Tells Pub/Sub that these need not come again. Raises as `pull` does; then they come again."""
        if not messages:
            return
        try:
            self._opened().acknowledge(
                subscription=self.name, ack_ids=[message.ack_id for message in messages], timeout=_TIMEOUT_S
            )
        except Exception as error:  # noqa: BLE001  as above
            self._fail("acknowledged", error)

    def close(self) -> None:
        """Lets the connection go; the next pull opens another one."""
        client, self._client = self._client, None
        self._wait_s = _FIRST_WAIT_S
        if client is not None:
            client.close()

    def _opened(self) -> SubscriberClient:
        if self._client is None:
            try:
                from google.auth.exceptions import DefaultCredentialsError
                from google.cloud.pubsub_v1 import SubscriberClient
            except ImportError:
                raise ConfigError(
                    f"{self.name} cannot be pulled: the package google-cloud-pubsub is not installed; "
                    "pip install 'mail-ingest[push]'"
                ) from None
            try:
                self._client = SubscriberClient()
            except DefaultCredentialsError:
                raise ConfigError(
                    f"{self.name} cannot be pulled: there are no application-default credentials; set "
                    "GOOGLE_APPLICATION_CREDENTIALS to the file of a service account that is a subscriber of it"
                ) from None
        return self._client

    def _fail(self, what: str, error: Exception) -> NoReturn:
        """Raises what the caller can act on, and opens another connection next time."""
        from google.api_core.exceptions import Forbidden, InvalidArgument, NotFound, Unauthenticated
        from google.auth.exceptions import RefreshError

        self.close()
        kind = type(error).__name__
        if isinstance(error, NotFound):
            raise ConfigError(
                f"{self.name} could not be {what}: there is no such subscription (MAIL_INGEST_PUSH_SUBSCRIPTION); create it for "
                "the topic that Gmail publishes to"
            ) from None
        if isinstance(error, Forbidden | Unauthenticated | RefreshError):
            raise ConfigError(
                f"{self.name} could not be {what}: the credentials are refused ({kind}); they need the role "
                "roles/pubsub.subscriber on it"
            ) from None
        if isinstance(error, InvalidArgument):
            raise ConfigError(
                f"{self.name} could not be {what}: Pub/Sub takes it for no subscription ({kind})"
            ) from None
        raise ServerError(f"{self.name} could not be {what}: {kind}; tried again in a moment") from None
