"""The text of SQL taken apart: where its parameters are, and where a colon only looks like one."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import cached_property


@dataclass(frozen=True)
class Grammar:
    """What tells quotes and comments of one kind of database from those of another."""

    nested: bool = False
    """Comments within comments."""
    dollars: bool = False
    """`$$…$$`, `$tag$…$tag$` and `E'…'`."""
    backslashes: bool = False
    """A backslash in every string escapes the quote, and `#` begins a comment."""
    brackets: bool = False
    """Names in brackets."""

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """One token. Whatever is quoted or commented out and does not end goes to the end of the text."""
        dashes = r"--(?=\s|\Z)[^\n]*|\#[^\n]*" if self.backslashes else r"--[^\n]*"
        plain = r"(?:[^Q\\]++|\\.|QQ)*+(?:Q|\Z)" if self.backslashes else r"(?:[^Q]++|QQ)*+(?:Q|\Z)"
        quoted = [*(quote + plain.replace("Q", quote) for quote in "'\""), r"`(?:[^`]++|``)*+(?:`|\Z)"]
        if self.dollars:
            quoted += [r"[eE]'(?:[^'\\]++|\\.|'')*+(?:'|\Z)", r"\$(?P<tag>(?:[^\W\d]\w*)?)\$.*?(?:\$(?P=tag)\$|\Z)"]
        if self.brackets:
            quoted.append(r"\[[^\]]*+(?:\]|\Z)")
        kinds = {
            "comment": rf"{dashes}|/\*",
            "quoted": "|".join(quoted),
            "blank": r"\s+",
            "word": r"[^\W\d][\w$]*|\d[\w.]*",
            "pair": r"::|:=|\\\\",
            "escape": r"\\:",
            "parameter": r":\w+",
            "sign": r"[^\w\s'\"`$:\\/\-\#\[\]();]+|.",
        }
        return re.compile("|".join(f"(?P<{kind}>{pattern})" for kind, pattern in kinds.items()), re.DOTALL)


POSTGRESQL = Grammar(nested=True, dollars=True)
PLAIN = Grammar()
_OTHERS = {
    "mysql": Grammar(backslashes=True),
    "mariadb": Grammar(backslashes=True),
    "sqlite": Grammar(brackets=True),
    "mssql": Grammar(nested=True, brackets=True),
}
# In brackets, a colon behind any other word parts a slice.
_BEFORE_VALUES = frozenset(
    (
        *(
            "ALL",
            "AND",
            "ANY",
            "ARRAY",
            "BETWEEN",
            "BY",
            "CASE",
            "DISTINCT",
            "ELSE",
            "FROM",
            "ILIKE",
            "IN",
            "IS",
            "LIKE",
            "LIMIT",
        ),
        *("NOT", "OFFSET", "ON", "OR", "SELECT", "SOME", "THEN", "WHEN", "WHERE"),
    )
)
GRAMMARS = (POSTGRESQL, PLAIN, *_OTHERS.values())


def grammar_of(database: str) -> Grammar:
    """The grammar of a kind of database, as SQLAlchemy names it."""
    return POSTGRESQL if database in ("postgresql", "cockroachdb", "redshift") else _OTHERS.get(database, PLAIN)


@dataclass(frozen=True, slots=True)
class Token:
    """kind: comment, quoted, blank, word, pair (`::`, `:=`, two backslashes), escape, parameter, sign.

    A parameter that is `unsure` may be the end of an array's slice, as in `a[:n]`: it is one if there is a value for it.
    """

    kind: str
    text: str
    unsure: bool = False

    @property
    def name(self) -> str:
        """Of a parameter."""
        return self.text[1:]


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
    return SqlText(tuple(_judged(_tokens(statement, grammar))))


def _tokens(statement: str, grammar: Grammar) -> Iterator[Token]:
    at = 0
    while found := grammar.pattern.match(statement, at):
        end = found.end()
        if found["comment"] == "/*":
            end = _end_of_comment(statement, end, nested=grammar.nested)
        yield Token(str(found.lastgroup), statement[at:end])
        at = end


def _end_of_comment(statement: str, at: int, *, nested: bool) -> int:
    depth = 1
    for found in re.compile(r"/\*|\*/").finditer(statement, at):
        depth += -1 if found[0] == "*/" else int(nested)
        if not depth:
            return found.end()
    return len(statement)


def _judged(tokens: Iterator[Token]) -> Iterator[Token]:
    """Parameters are told from the ends of slices, from keys of objects, and from other colons that stand behind a value."""
    before = last = Token("sign", "")  # before: the last one that is neither blank nor comment; last: of any kind
    opened: list[bool] = []  # for each bracket that is open: whether it may be a subscript
    for token in tokens:
        if token.kind == "parameter":
            token = _parameter(token, before, last, opened)
        elif token.text == "[":
            opened.append(_ends_value(before) and before.text.upper() != "ARRAY")
        elif token.text == "]" and opened:
            opened.pop()
        yield token
        last = token
        before = before if token.kind in ("blank", "comment") else token


def _parameter(token: Token, before: Token, last: Token, opened: list[bool]) -> Token:
    parts_slice = bool(opened) and _ends_value(before) and before.text.upper() not in _BEFORE_VALUES
    if _ends_value(last) or last.text == "::" or parts_slice:
        return Token("sign", token.text)
    return Token("parameter", token.text, unsure=before.text == "[" and bool(opened) and opened[-1])


def _ends_value(token: Token) -> bool:
    return token.kind in ("word", "quoted", "parameter") or token.text in (")", "]")


def _written(token: Token, names: Collection[str]) -> str:
    if token.kind == "parameter" and token.name in names:
        return f" :{token.name} "  # blanks, as SQLAlchemy takes it for no parameter right behind some characters
    # An odd number of backslashes before a colon: the last one is there to escape it, within quotes too.
    text = re.sub(r"(?<!\\)((?:\\\\)*)\\:", r"\1:", token.text)
    return text.replace(":", "\\:")
