"""`python -m mail_ingest_tests.browser URL`: a person at a browser, as the variable BROWSER can name one.

The person allows as `CONSENT_AS`, or refuses with `CONSENT_ERROR`, and follows wherever the page leads.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from urllib.parse import urlencode

import requests


def browse(url: str, consent_as: str = "", *, error: str = "", scopes: Sequence[str] = ()) -> requests.Response:
    """Answers the consent page at the address, and returns the page where it ended."""
    answer: dict[str, str | Sequence[str]] = {"consent_error": error} if error else {"consent_as": consent_as}
    if scopes:
        answer["consent_scope"] = list(scopes)
    return requests.get(f"{url}&{urlencode(answer, doseq=True)}", timeout=20)


if __name__ == "__main__":
    browse(sys.argv[1], os.environ.get("CONSENT_AS", ""), error=os.environ.get("CONSENT_ERROR", ""))
