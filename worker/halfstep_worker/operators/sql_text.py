"""The text of SQL taken apart: where its parameters are, and where a colon only looks like one."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field

from halfstep_worker.operators.sql_colons import Colons
from halfstep_worker.operators.sql_tokens import Grammar, Token, tokens_of


@dataclass(frozen=True, slots=True)
class SqlText:
    """A statement, or several, as tokens."""

    tokens: tuple[Token, ...] = field(repr=False)

    @property
    def wanted(self) -> set[str]:
        """The names of the parameters that need a value."""
        return {token.name for token in self.tokens if token.kind == "parameter" and not token.unsure}

    @property
    def known(self) -> set[str]:
        """The names of all that may be parameters."""
        return {token.name for token in self.tokens if token.kind == "parameter"}

    @property
    def colons(self) -> set[str]:
        """The names behind colons that stand behind a value, and so are no parameters."""
        return {token.name for token in self.tokens if token.kind == "colon"}

    @property
    def cast(self) -> set[str]:
        """The parameters that `::` follows."""
        pairs = zip(self.tokens, self.tokens[1:], strict=False)
        return {one.name for one, two in pairs if one.kind == "parameter" and two.text == "::"}

    @property
    def bare(self) -> str:
        """The text without comments, and with nothing within its quotes."""
        spare = {"comment": " ", "quoted": "''"}
        return "".join(spare.get(token.kind, token.text) for token in self.tokens).strip()

    def template(self, names: Collection[str]) -> str:
        """The text for `sqlalchemy.text`: these parameters are to be bound, and every other colon is one."""
        return "".join(_written(token, names) for token in self.tokens)


def read_sql(statement: str, grammar: Grammar) -> SqlText:
    """The statement's tokens."""
    return SqlText(tuple(Colons().judged(tokens_of(statement, grammar))))


def _written(token: Token, names: Collection[str]) -> str:
    if token.kind == "parameter" and token.name in names:
        return f" :{token.name} "  # blanks, as SQLAlchemy takes it for no parameter right behind some characters
    # An odd number of backslashes before a colon: the last one is there to escape it, within quotes too.
    text = re.sub(r"(?<!\\)((?:\\\\)*)\\:", r"\1:", token.text)
    return text.replace(":", "\\:")
