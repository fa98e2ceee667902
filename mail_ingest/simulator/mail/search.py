"""Gmail's search language, as far as programs use it in `q`.

Operators: https://support.google.com/mail/answer/7190 . Matching is per message. Dates mean midnight Pacific time,
digits alone mean epoch seconds (https://developers.google.com/workspace/gmail/api/guides/filtering). `a b OR c` is a
and (b or c); `{a b}` is a or b; `-` negates. Words match whole words of addresses, subject, text and file names.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from mail_ingest.simulator.mail.search_terms import Candidate, Predicate, Terms

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<opening>[-+]?[({]) | (?P<closing>[)}])
        | (?P<sign>[-+]?)(?:(?P<operator>[A-Za-z_]\w*):)?(?:"(?P<quoted>[^"]*)"|\((?P<grouped>[^()]*)\)|(?P<word>[^\s(){}"]+))
    )""",
    re.VERBOSE,
)


@dataclass(slots=True)
class Query:
    """A compiled query."""

    predicate: Predicate
    names_spam_or_trash: bool = False
    """The query asks for them, so they are not hidden."""
    after_s: float | None = None
    before_s: float | None = None
    """Bounds every match lies within (epoch seconds, inclusive), so that a listing need not look further."""
    required_labels: set[str] = field(default_factory=set)
    """Labels that every match has, for the same reason."""


def compile_query(text: str, terms: Terms) -> Query:
    """Never fails: what is not an operator is a word, as in Gmail."""
    return _Parser(text, terms).parse()


def everything(_: Candidate) -> bool:
    return True


class _Parser:
    def __init__(self, text: str, terms: Terms) -> None:
        self._tokens = [match.groupdict() for match in _TOKEN.finditer(text)]
        self._at = 0
        self._terms = terms
        self._query = Query(everything)

    def parse(self) -> Query:
        predicates = self._sequence(None, top=True)
        self._query.predicate = _all(predicates)
        return self._query

    def _sequence(self, closing: str | None, *, top: bool = False) -> list[Predicate]:
        found: list[Predicate] = []
        while self._at < len(self._tokens):
            if self._tokens[self._at]["closing"]:
                self._at += 1
                if closing is not None:
                    break
                continue
            alternatives = [self._unary(top=top and not self._or_follows())]
            while self._is_or():
                self._at += 1
                if self._at < len(self._tokens) and not self._tokens[self._at]["closing"]:
                    alternatives.append(self._unary(top=False))
            found.append(_any(alternatives) if len(alternatives) > 1 else alternatives[0])
        return found

    def _unary(self, *, top: bool) -> Predicate:
        token = self._tokens[self._at]
        self._at += 1
        opening = token["opening"]
        if opening:
            inner = self._sequence(")" if opening[-1] == "(" else "}")
            predicate = _all(inner) if opening[-1] == "(" else _any(inner)
            return _not(predicate) if opening[0] == "-" else predicate
        value = token["quoted"] or token["grouped"] or token["word"] or ""
        negated = token["sign"] == "-"
        if token["operator"] is None:
            predicate = self._terms.words(value)
        else:
            predicate = self._operator(token["operator"].lower(), value, top=top and not negated)
        return _not(predicate) if negated else predicate

    def _operator(self, operator: str, value: str, *, top: bool) -> Predicate:
        if operator in ("in", "is", "label") and value.lower() in ("spam", "trash", "anywhere"):
            self._query.names_spam_or_trash = True
        after_s, before_s = self._terms.bounds(operator, value)
        if after_s is not None or before_s is not None:
            if top:
                query = self._query
                query.after_s = max((s for s in (query.after_s, after_s) if s is not None), default=None)
                query.before_s = min((s for s in (query.before_s, before_s) if s is not None), default=None)
            return _between(after_s, before_s)
        label_id = self._terms.label_of(operator, value.lower())
        if label_id is not None and top:
            self._query.required_labels.add(label_id)
        return self._terms.operator(operator, value)

    def _or_follows(self) -> bool:
        """Whether the term at hand is the first of several alternatives (a bracket counts as one, to be safe)."""
        return self._tokens[self._at]["opening"] is not None or self._is_or(self._at + 1)

    def _is_or(self, at: int | None = None) -> bool:
        at = self._at if at is None else at
        if at >= len(self._tokens):
            return False
        token = self._tokens[at]
        return token["word"] in ("OR", "|") and token["operator"] is None and not token["sign"]


def _between(after_s: float | None, before_s: float | None) -> Predicate:
    def test(candidate: Candidate) -> bool:
        date_s = candidate.date_ms // 1000
        return (after_s is None or date_s >= after_s) and (before_s is None or date_s <= before_s)

    return test


def _all(predicates: Sequence[Predicate]) -> Predicate:
    return lambda candidate: all(predicate(candidate) for predicate in predicates)


def _any(predicates: Sequence[Predicate]) -> Predicate:
    return lambda candidate: any(predicate(candidate) for predicate in predicates)


def _not(predicate: Predicate) -> Predicate:
    return lambda candidate: not predicate(candidate)
