"""Whether a colon with a name behind it is a parameter, or parts a slice, or a key from its value."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from halfstep_worker.operators.sql_tokens import Token

_OPEN_WORDS = """
all analyse analyze and any array as asc asymmetric authorization binary both case cast check collate collation column
concurrently constraint create cross default deferrable desc distinct do else except fetch for foreign freeze from full grant
group having ilike in initially inner intersect into is join lateral leading left like limit natural not offset on only or order
outer overlaps placing primary references returning right select similar some symmetric table tablesample then to trailing union
unique using variadic verbose when where window with
"""
OPEN_WORDS = frozenset(_OPEN_WORDS.split())
"""PostgreSQL's reserved words that are no value and end none: behind them, a value is still to come."""


@dataclass(slots=True)
class Opened:
    """Something that is open: `(`, `[` of an array, `subscript`, `case` within one; or the statement itself, ``."""

    kind: str
    value: bool = False
    """Of a subscript: a value that may be complete stands before this place, so that a colon here parts a slice."""
    operator: bool = False
    """Of a `(`: it belongs to OPERATOR(…), which is no value."""


class Colons:
    """Reads tokens one by one; in it stands where in the statement it is."""

    def __init__(self) -> None:
        self._opened = [Opened("")]
        self._before = self._last = Token("sign", "")  # before: the last one that is neither blank nor comment

    def judged(self, tokens: Iterator[Token]) -> Iterator[Token]:
        """The tokens, in which a parameter that is none is a colon."""
        for token in tokens:
            judged = self._parameter(token) if token.kind == "parameter" else token
            yield judged
            self._last = judged
            if judged.kind not in ("blank", "comment", "executed"):
                self._follow(judged)
                self._before = judged

    def _parameter(self, token: Token) -> Token:
        """Directly behind a value it is a colon; elsewhere only if directly within a subscript and behind a value there."""
        within = self._opened[-1]
        if self._last.ends_value or self._last.text == "::" or within.value:
            return Token("colon", token.text)
        return replace(token, unsure=within.kind == "subscript" and self._before.text == "[")

    def _follow(self, token: Token) -> None:
        within = self._opened[-1]
        match token.text:
            case "[":
                self._opened.append(Opened("subscript" if self._is_subscribed() else "["))
            case "(":
                self._opened.append(Opened("(", operator=self._before.text.lower() == "operator"))
            case "]":
                self._close("[", "subscript")
            case ")":
                self._close("(")
            case _ if token.kind == "word" and within.kind in ("subscript", "case"):
                self._word(token.text.lower(), within)
            case _ if within.kind == "subscript":
                within.value = token.kind in ("quoted", "parameter", "colon")

    def _word(self, word: str, within: Opened) -> None:
        """A word behind a value is an operator, as AT of AT TIME ZONE, and the value is not complete any more."""
        named = self._before.text.endswith(".")  # a column: what it is called does not matter
        if word == "case" and not named:
            self._opened.append(Opened("case"))
        elif word == "end" and not named and within.kind == "case":
            self._close("case")
        elif within.kind == "subscript":
            within.value = named or word[0].isdigit() or not (within.value or word in OPEN_WORDS)

    def _is_subscribed(self) -> bool:
        return self._before.ends_value and self._before.text.lower() not in OPEN_WORDS

    def _close(self, *kinds: str) -> None:
        while self._opened[-1].kind == "case" and "case" not in kinds:
            self._opened.pop()
        if self._opened[-1].kind not in kinds:
            return
        closed, within = self._opened.pop(), self._opened[-1]
        if within.kind == "subscript":
            within.value = not closed.operator
