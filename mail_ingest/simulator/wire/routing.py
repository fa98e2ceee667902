"""From a path to a method."""

from collections.abc import Iterable

from mail_ingest.simulator.api.methods import METHODS, Method

PREFIX = "/gmail/v1/users/"
UPLOAD_PREFIXES = ("/upload", "/resumable/upload")


class Routes:
    """Finds methods by verb and path; literal segments win over ids (`messages/send` over `messages/*`)."""

    def __init__(self, methods: Iterable[Method] = METHODS) -> None:
        self._methods = {(method.verb, *method.path.split("/")): method for method in methods}

    def find(self, verb: str, path: str) -> tuple[Method, str, tuple[str, ...]] | None:
        """The method, the user id and the ids in the path; None when nothing is served there."""
        if not path.startswith(PREFIX):
            return None
        user, *segments = path[len(PREFIX) :].split("/")
        exact = self._methods.get((verb, *segments))
        if exact is not None:
            return exact, user, ()
        wild = (verb, *(segment if at % 2 == 0 else "*" for at, segment in enumerate(segments)))
        method = self._methods.get(wild)
        return None if method is None else (method, user, tuple(segments[1::2]))
