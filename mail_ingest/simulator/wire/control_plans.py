"""Control of what is to come: faults, hooks, switches, settings and the clock."""

import dataclasses
from datetime import datetime
from typing import Any

from mail_ingest.simulator.answer_changes import AnswerChange
from mail_ingest.simulator.consents import client_file
from mail_ingest.simulator.faults import KINDS, Fault, HookHandle
from mail_ingest.simulator.grants import READONLY_SCOPE
from mail_ingest.simulator.mail.access import full_scope
from mail_ingest.simulator.mail.mailbox import Mailbox
from mail_ingest.simulator.wire.control_verbs import RefusedError, bound_verb
from mail_ingest.simulator.world import World

_SETTINGS = ("latency_s", "concurrency_limit", "history_retention_s")


def box_of(world: World, address: str) -> Mailbox:
    box = world.accounts.get(address)
    if box is None:
        raise RefusedError(f"no account {address}", 404)
    return box


class Plans:
    """Answers the control requests that plan something or set something."""

    def __init__(self, world: World) -> None:
        self._world = world

    def answer(self, verb: str, segments: list[str], arguments: dict[str, Any]) -> Any:
        world = self._world
        match [verb, *segments]:
            case ["POST", "faults"]:
                return self._plan_fault(arguments)
            case ["DELETE", "faults"]:
                world.disturbances.faults.clear()
                return {}
            case ["POST", "hooks"]:
                return self._plan_hook(arguments)
            case ["POST", "answer-changes"]:
                return self._plan_answer_change(arguments)
            case ["DELETE", "answer-changes"]:
                world.answer_changes.clear()
                return {}
            case ["GET", "switches"]:
                return dataclasses.asdict(world.switches)
            case ["PATCH", "switches"]:
                return self._set_switches(arguments)
            case ["PATCH", "settings"]:
                return self._set(arguments)
            case ["POST", "clock"]:
                return {"now_s": world.clock.advance(float(arguments["advance_s"]))}
        return self._answer_about_people(verb, segments, arguments)

    def _answer_about_people(self, verb: str, segments: list[str], arguments: dict[str, Any]) -> Any:
        """The Workspace's users, its secrets, and what programs identify themselves with."""
        world = self._world
        match [verb, *segments]:
            case ["GET", "users"]:
                return [dataclasses.asdict(user) for user in world.directory]
            case ["POST", "users"]:
                return dataclasses.asdict(world.directory.add(**arguments))
            case ["DELETE", "users", address]:
                world.directory.remove(address)
                return {}
            case ["POST", "secrets"]:
                return {"name": world.secrets.add(**arguments)}
            case ["GET", "oauth-client"]:
                return client_file(world.url, world.project)
            case ["POST", "service-accounts"]:
                return self._service_account(**arguments)
        path = "/".join(("/simulator", *segments))
        raise RefusedError(f"nothing answers {verb} {path}; GET /simulator lists what does", 404)

    def _plan_fault(self, arguments: dict[str, Any]) -> dict[str, Any]:
        if arguments.get("kind", "error") not in KINDS:
            raise RefusedError(f"unknown kind of fault: one of {', '.join(KINDS)}")
        if isinstance(arguments.get("retry_after"), str):
            arguments["retry_after"] = datetime.fromisoformat(arguments["retry_after"])
        fault = Fault(**arguments)
        with self._world.lock:
            self._world.disturbances.faults.append(fault)
        return {"planned": fault.kind}

    def _plan_answer_change(self, arguments: dict[str, Any]) -> dict[str, Any]:
        change = AnswerChange(**arguments)
        with self._world.lock:
            self._world.answer_changes.append(change)
        return {"planned": change.change}

    def _plan_hook(self, arguments: dict[str, Any]) -> dict[str, Any]:
        box = box_of(self._world, str(arguments["account"]))
        call = bound_verb(box, str(arguments["verb"]), dict(arguments.get("arguments") or {}))
        times, passed = arguments.get("times", 1), arguments.get("after", 0)
        disturbances = self._world.disturbances
        hooks = disturbances.before if arguments.get("when", "before") == "before" else disturbances.after
        with self._world.lock:
            hooks.append(HookHandle(call, arguments.get("method"), None, times, passed, hooks))
        return {"planned": arguments["verb"]}

    def _set_switches(self, wanted: dict[str, Any]) -> dict[str, Any]:
        switches = self._world.switches
        known = dataclasses.asdict(switches)
        for name, value in wanted.items():
            if name not in known:
                raise RefusedError(f"no switch {name}; there are {', '.join(known)}")
            setattr(switches, name, set(value) if name == "extra_labels" else value)
        return dataclasses.asdict(switches)

    def _set(self, wanted: dict[str, Any]) -> dict[str, Any]:
        for name, value in wanted.items():
            if name not in _SETTINGS:
                raise RefusedError(f"no setting {name}; there are {', '.join(_SETTINGS)}")
            setattr(self._world, name, value)
        return {name: getattr(self._world, name) for name in _SETTINGS}

    def _service_account(self, scopes: list[str] | None = None, subjects: list[str] | None = None) -> dict[str, str]:
        world = self._world
        with world.lock:
            return world.grants.service_accounts.make(
                f"{world.url}/token", world.project, map(full_scope, scopes or [READONLY_SCOPE]), subjects
            )
