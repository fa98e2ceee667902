"""The control endpoints below `/simulator`: the Python verbs and the truth, for a simulator in another process.

Requests and answers are JSON; long answers are a stream of JSON lines. Errors are `{"error": text}` with status 400 or
404. Nothing here needs a token: the server listens on loopback.
"""

import dataclasses
import resource
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any
from urllib.parse import unquote

import orjson

from mail_ingest.simulator.made.hour import pass_hour
from mail_ingest.simulator.mail.mailbox import Mailbox
from mail_ingest.simulator.wire.control_export import message_table
from mail_ingest.simulator.wire.control_plans import Plans, box_of
from mail_ingest.simulator.wire.control_verbs import VERBS, RefusedError, call_verb
from mail_ingest.simulator.wire.exchange import Stream
from mail_ingest.simulator.wire.service import Request, Response
from mail_ingest.simulator.world import World

HELP = {
    "GET /simulator/cpu": "CPU seconds and memory of this process",
    "GET /simulator/accounts": "addresses, tokens, message counts",
    "POST /simulator/accounts": '{"address": ...} adds an account',
    "GET /simulator/messages": "the truth about all accounts, as CSV: address, id, thread, labels, date",
    "POST /simulator/hour": '{"messages": 10, "label_changes": 5, "deletions": 1, "seed": 1}: every mailbox changes',
    "GET /simulator/accounts/ADDRESS/messages": "the truth: one JSON line per message",
    "GET /simulator/accounts/ADDRESS/deleted": "one JSON line per message deleted for good",
    "GET /simulator/accounts/ADDRESS/labels": "the truth about labels",
    "GET /simulator/accounts/ADDRESS/raw/ID": "the bytes of a message",
    "POST /simulator/accounts/ADDRESS/VERB": f"calls a verb with a JSON object of arguments: {', '.join(VERBS)}",
    "GET /simulator/requests": "counts of served requests and units",
    "GET /simulator/requests/log": "the last requests, one JSON line each",
    "DELETE /simulator/requests": "starts counting anew",
    "POST /simulator/faults": "plans a fault, arguments as for Simulator.fail_next",
    "DELETE /simulator/faults": "forgets planned faults",
    "POST /simulator/hooks": 'runs a verb around a request: {"when": "before" or "after", "method", "times", "after", '
    '"account", "verb", "arguments"}',
    "POST /simulator/answer-changes": "changes a field of answers, arguments as for Simulator.change_answers",
    "DELETE /simulator/answer-changes": "answers are as documented again",
    "GET, PATCH /simulator/switches": "the switches",
    "PATCH /simulator/settings": '{"latency_s", "concurrency_limit", "history_retention_s"}',
    "POST /simulator/clock": '{"advance_s": seconds} moves the clock on',
    "GET /simulator/notifications": "published push notifications",
    "GET, POST /simulator/users": 'the Workspace; {"address", "org_unit", "is_suspended", ...} adds or changes somebody',
    "DELETE /simulator/users/ADDRESS": "somebody leaves",
    "POST /simulator/secrets": '{"name", "data", "readers"}: a new version of a secret',
    "GET /simulator/oauth-client": "the file of an OAuth client of type desktop app",
    "POST /simulator/service-accounts": '{"scopes", "subjects"}: a key file',
}
_LINES_A_PIECE = 2_000


class Control:
    """Answers control requests of one world. Runs in worker threads: verbs may take seconds."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._plans = Plans(world)

    def answer(self, request: Request) -> Response | Stream:
        segments = [unquote(segment) for segment in request.path.split("/")[2:] if segment]
        try:
            result = self._dispatch(request, segments)
        except RefusedError as refused:
            return _json({"error": str(refused)}, refused.status)
        except (KeyError, ValueError, TypeError, OSError) as error:
            return _json({"error": f"{type(error).__name__}: {error}"}, 400)
        return result if isinstance(result, (Response, Stream)) else _json(result)

    def _dispatch(self, request: Request, segments: list[str]) -> Any:
        match [request.verb, *segments]:
            case ["GET"]:
                return HELP
            case ["GET", "cpu"]:
                return cpu_usage()
            case ["GET", "accounts"]:
                return [self._account(box) for box in list(self._world.accounts.values())]
            case ["POST", "accounts"]:
                return self._account(self._world.add_account(str(arguments_of(request)["address"])))
            case ["GET", "messages"]:
                return Stream(message_table(self._world), "text/csv")
            case ["POST", "hour"]:
                pass_hour(list(self._world.accounts.values()), **arguments_of(request))
                return {}
            case ["GET", "accounts", address, *rest]:
                return self._truth(box_of(self._world, address), rest)
            case ["POST", "accounts", address, verb]:
                return {"result": call_verb(box_of(self._world, address), verb, arguments_of(request))}
            case ["GET" | "DELETE", "requests", *rest]:
                return self._requests(request.verb, rest)
            case ["GET", "notifications"]:
                return [note.envelope() | {"topic": note.topic} for note in list(self._world.notifications)]
        return self._plans.answer(request.verb, segments, arguments_of(request))

    def _account(self, box: Mailbox) -> dict[str, Any]:
        with self._world.lock:
            table = box.state.table
            return {
                "address": box.address,
                "token": box.token,
                "messages": table.live_messages,
                "threads": table.live_threads,
                "history_id": str(box.history_id),
            }

    def _truth(self, box: Mailbox, what: list[str]) -> Any:
        match what:
            case []:
                return self._account(box)
            case ["messages"]:
                return Stream(self._message_lines(box))
            case ["deleted"]:
                return Stream(_lines(sorted(box.deleted_ids())))
            case ["labels"]:
                return [dataclasses.asdict(label) for label in box.labels().values()]
            case ["raw", message_id]:
                return Response(200, box.raw(message_id), "message/rfc822")
        raise RefusedError(f"an account has no {'/'.join(what)}", 404)

    def _message_lines(self, box: Mailbox) -> Iterator[bytes]:
        """Reads the mailbox some thousand rows at a time; a change meanwhile can show in the later ones."""
        table = box.state.table
        for begin in range(0, len(table), _LINES_A_PIECE):
            with self._world.lock:
                slots = range(begin, min(begin + _LINES_A_PIECE, len(table)))
                records = [box.record(slot) for slot in slots if table.alive[slot]]
            yield b"".join(
                orjson.dumps(
                    {
                        "id": record.message_id,
                        "threadId": record.thread_id,
                        "labelIds": sorted(record.label_ids),
                        "historyId": str(record.history_id),
                        "internalDate": str(record.internal_date_ms),
                    }
                )
                + b"\n"
                for record in records
            )

    def _requests(self, verb: str, rest: list[str]) -> Any:
        ledger = self._world.ledger
        if verb == "DELETE":
            ledger.reset()
            return {}
        if rest == ["log"]:
            return Stream(_lines(served._asdict() for served in ledger))
        with self._world.lock:
            return {
                "calls": ledger.calls(),
                "by_method": ledger.by_method(),
                "by_status": {str(status): count for status, count in ledger.by_status().items()},
                "units": ledger.units(),
                "units_by_method": ledger.units_by_method(),
                "units_by_account": {address: ledger.units(address) for address in self._world.accounts},
                "sent_bytes": ledger.sent_bytes,
            }


def cpu_usage() -> dict[str, float]:
    """CPU seconds that this process has used, and the most memory it ever held."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "user_s": usage.ru_utime,
        "system_s": usage.ru_stime,
        "peak_rss_bytes": usage.ru_maxrss * 1024,
    }


def arguments_of(request: Request) -> dict[str, Any]:
    parsed = orjson.loads(request.body) if request.body.strip() else {}
    if not isinstance(parsed, dict):
        raise RefusedError("the body must be a JSON object")
    return parsed


def _lines(items: Iterable[Any]) -> Iterator[bytes]:
    rest = iter(items)
    while piece := list(islice(rest, _LINES_A_PIECE)):
        yield b"".join(orjson.dumps(item, default=_plain) + b"\n" for item in piece)


def _plain(value: Any) -> Any:
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    raise TypeError


def _json(value: Any, status: int = 200) -> Response:
    return Response(status, orjson.dumps(value, default=_plain, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
