"""The authorization endpoint: a page on which a person allows or refuses, and ways to answer it without a browser.

The page's buttons send what a test may send at once: `consent_as=ADDRESS` allows, `consent_error=access_denied` refuses;
`consent_scope` (repeated) says which scopes were left ticked, or adds some.
"""

from collections.abc import Sequence
from html import escape
from urllib.parse import parse_qs, parse_qsl, urlencode

from mail_ingest.simulator.consents import ConsentError, ConsentRequest
from mail_ingest.simulator.wire.service import Request, Response
from mail_ingest.simulator.world import World

PATHS = frozenset({"/o/oauth2/v2/auth", "/o/oauth2/auth"})
_HTML = "text/html; charset=UTF-8"
_ANSWERS = ("consent_as", "consent_error", "consent_scope")


def answer(world: World, request: Request) -> Response:
    """One visit of the endpoint."""
    params = dict(parse_qsl(request.query, keep_blank_values=True))
    with world.lock:
        consents = world.grants.consents
        try:
            asked = consents.read(params)
        except ConsentError as error:
            return _page(
                error.status, f"<p>Error {error.status}: {escape(error.error)}</p>\n<p>{escape(error.description)}</p>"
            )
        if "consent_error" in params:
            return _back(asked, error=params["consent_error"])
        address = params.get("consent_as")
        if address is None:
            return _page(200, _form(params, asked, _addresses(world, asked.login_hint)))
        if address not in world.accounts:
            return _page(400, f"<p>Couldn't find your Google Account: {escape(address)}</p>")
        scopes = parse_qs(request.query).get("consent_scope") or sorted(asked.scopes)
        return _back(asked, code=consents.give(asked, address, scopes), scope=" ".join(scopes))


def _addresses(world: World, login_hint: str) -> list[str]:
    """Who may consent, the one that the program suggests first."""
    return sorted(world.accounts, key=lambda address: (address != login_hint, address))


def _back(asked: ConsentRequest, **answer: str) -> Response:
    """The way back to the program."""
    query = urlencode({"state": asked.state, **answer})
    return Response(302, b"", _HTML, [("location", f"{asked.redirect_uri}?{query}")])


def _form(params: dict[str, str], asked: ConsentRequest, addresses: Sequence[str]) -> str:
    hidden = "\n".join(
        f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">'
        for name, value in params.items()
        if name not in _ANSWERS
    )
    scopes = "\n".join(
        f'<p><label><input type="checkbox" name="consent_scope" value="{escape(scope)}" checked> {escape(scope)}</label></p>'
        for scope in sorted(asked.scopes)
    )
    allow = "\n".join(
        f'<p><button name="consent_as" value="{escape(address)}">Allow as {escape(address)}</button></p>'
        for address in addresses
    )
    return f"""<h1>A program wants access to a Google Account</h1>
<form method="get">
{hidden}
{scopes}
{allow}
<p><button name="consent_error" value="access_denied">Deny</button></p>
</form>"""


def _page(status: int, content: str) -> Response:
    text = f'<!DOCTYPE html>\n<html lang="en">\n<meta charset="utf-8">\n<title>Local Gmail server</title>\n{content}\n</html>\n'
    return Response(status, text.encode(), _HTML)
