"""Secrets with numbered versions, as Secret Manager keeps them."""

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Secret:
    """`readers` are the identities that may read it, None: all."""

    name: str
    readers: frozenset[str] | None
    versions: list[bytes] = field(default_factory=list)
    disabled: set[int] = field(default_factory=set)


class SecretStore:
    """All secrets of one server, by names such as `projects/p/secrets/s`."""

    def __init__(self) -> None:
        self._secrets: dict[str, Secret] = {}

    def add(self, name: str, data: bytes | str, readers: Iterable[str] | None = None) -> str:
        """A new version, of a new secret where there is none; returns the version's name."""
        secret = self._secrets.get(name)
        if secret is None:
            secret = self._secrets[name] = Secret(name, None if readers is None else frozenset(readers))
        secret.versions.append(data.encode() if isinstance(data, str) else data)
        return f"{name}/versions/{len(secret.versions)}"

    def disable(self, version_name: str) -> None:
        """The version can no longer be read."""
        name, _, number = version_name.partition("/versions/")
        self._secrets[name].disabled.add(int(number))

    def find(self, name: str) -> Secret | None:
        return self._secrets.get(name)
