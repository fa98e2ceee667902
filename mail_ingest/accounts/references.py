"""Secrets that are named instead of given: `env://NAME` and `file:///absolute/path`."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from mail_ingest.errors import ConfigError
from mail_ingest.settings import variable

_REFERENCE = re.compile(r"[a-z][a-z0-9+.-]*://")


def is_reference(text: str) -> bool:
    """Whether a text names a secret rather than being one."""
    return _REFERENCE.match(text) is not None


def read_reference(text: str) -> bytes:
    """The secret that a reference names, read anew each time. Raises ConfigError, which repeats the reference alone."""
    scheme, _, rest = text.partition("://")
    if scheme == "env":
        try:
            return variable(rest).encode()
        except ConfigError:
            raise ConfigError(f"the secret {text} cannot be read: the environment variable {rest} is not set") from None
    if scheme == "file":
        try:
            return Path(unquote(urlsplit(text).path)).read_bytes()
        except OSError as error:
            raise ConfigError(f"the secret {text} cannot be read ({error.strerror})") from None
    raise ConfigError(f"the secret {scheme}://... cannot be read; references start with env:// or file://")
