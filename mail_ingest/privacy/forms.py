"""In which form a stored message is, and what that means when the policy changes.

A form is the tier under which a message was stored, with every stricter one that was applied to it afterwards: what
one of them took away stays away until the message is bought again. It has three sides:

                       bodies     subjects   addresses
    full               whole      whole      clear
    redacted           redacted   redacted   clear
    headers            none       whole      clear
    hashed             redacted   redacted   hashed
    redacted+headers   none       redacted   clear
    headers+hashed     none       redacted   hashed

` without attachments` stands behind the form of a message that has some of which nothing is stored.
"""

from __future__ import annotations

from mail_ingest.privacy.policy import Policy, Tier

Form = str
"""As `gmail.messages.privacy` has it."""

_NONE, _REDACTED, _WHOLE = 0, 1, 2
_HASHED, _CLEAR = 0, 1
#: (bodies, subjects, addresses) by form.
_SIDES: dict[str, tuple[int, int, int]] = {
    "full": (_WHOLE, _WHOLE, _CLEAR),
    "redacted": (_REDACTED, _REDACTED, _CLEAR),
    "headers": (_NONE, _WHOLE, _CLEAR),
    "hashed": (_REDACTED, _REDACTED, _HASHED),
    "redacted+headers": (_NONE, _REDACTED, _CLEAR),
    "headers+hashed": (_NONE, _REDACTED, _HASHED),
}
_BY_SIDES = {sides: form for form, sides in _SIDES.items()}
_WITHOUT = " without attachments"

FORMS: tuple[Form, ...] = (*_SIDES, *(form + _WITHOUT for form, sides in _SIDES.items() if sides[0] != _NONE))


def form_under(form: Form, policy: Policy, *, has_attachments: bool) -> Form:
    """The form that a message of this form has once the policy was applied to it."""
    sides, kept = _read(form)
    mine = _BY_SIDES[_meet(sides, policy.tier)]
    loses = has_attachments and not policy.attachments
    return mine + _WITHOUT if (loses or not kept) and _SIDES[mine][0] != _NONE else mine


def holds_too_much(form: Form, policy: Policy, *, has_attachments: bool) -> bool:
    """Whether a message of this form says more than the policy allows, and has to be rewritten."""
    return form_under(form, policy, has_attachments=has_attachments) != form


def holds_too_little(form: Form, policy: Policy) -> bool:
    """Whether a message of this form lacks what the policy gives, and has to be bought again.

    A subject alone is not bought: who narrows `redacted` to `headers` wants to have less, and pays nothing.
    """
    (bodies, _, addresses), kept = _read(form)
    wanted_bodies, _, wanted_addresses = _SIDES[policy.tier]
    lacks_attachments = not kept and policy.attachments and policy.keeps_bodies
    return bodies < wanted_bodies or addresses < wanted_addresses or lacks_attachments


def sufficient_forms(policy: Policy) -> tuple[Form, ...]:
    """The forms of messages that need not be bought again under a policy."""
    return tuple(form for form in FORMS if not holds_too_little(form, policy))


def allowed_forms(policy: Policy, *, has_attachments: bool) -> tuple[Form, ...]:
    """The forms of messages, with attachments or without any, that say no more than a policy allows.

    Whether a message is left out as sign-in mail its form does not tell.
    """
    return tuple(form for form in FORMS if not holds_too_much(form, policy, has_attachments=has_attachments))


def _read(form: Form) -> tuple[tuple[int, int, int], bool]:
    """The sides of a form, and whether its attachments were kept. Raises ValueError for another text."""
    name = form.removesuffix(_WITHOUT)
    if name not in _SIDES:
        raise ValueError(f"{form!r} is no form in which messages are stored")
    return _SIDES[name], name == form


def _meet(sides: tuple[int, int, int], tier: Tier) -> tuple[int, int, int]:
    bodies, subjects, addresses = _SIDES[tier]
    return min(sides[0], bodies), min(sides[1], subjects), min(sides[2], addresses)
