"""The text of SQL as tokens: what is quoted or commented out, by the kind of database."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

# Only single characters are repeated possessively: of groups, Python before 3.11.5 takes back the wrong ones. A group's parts
# begin with different characters, and what follows it matches wherever it ends, so that nothing is taken back anyway.

# What may stand between the parts of one string of PostgreSQL: blanks and comments, with the end of a line.
_GAP = r"'(?:[ \t\f\v]++|--[^\n\r]*+)*[\n\r](?:[ \t\n\r\f\v]++|--[^\n\r]*+[\n\r])*'"
_ESCAPED = r"(?:[^'\\]++|\\(?:.|\Z)|'')*"
_ORACLE = r"[nN]?[qQ]'(?:\[.*?\]'|\{.*?\}'|\(.*?\)'|<.*?>'|(?P<mark>[^\s\[{(<]).*?(?P=mark)'|.*\Z)"


@dataclass(frozen=True)
class Grammar:
    """What tells quotes and comments of one kind of database from those of another."""

    nested: bool = False
    """Comments within comments."""
    returns: bool = False
    """A carriage return, too, ends a comment of one line."""
    escapes: bool = False
    """`E'…'`, in which a backslash escapes."""
    dollars: bool = False
    """`$$…$$` and `$tag$…$tag$`."""
    backticks: bool = True
    """Names in backticks."""
    backslashes: bool = False
    """A backslash in every string escapes the quote, and `#` begins a comment."""
    executed: str | None = None
    """How a comment begins that is none, as the database executes it: a regular expression."""
    marked: bool = False
    """`q'[…]'`, with a mark of choice."""
    brackets: bool = False
    """Names in brackets."""

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """One token. Whatever is quoted or commented out and does not end goes to the end of the text."""
        line = r"[^\n\r]*" if self.returns else r"[^\n]*"
        dashes = rf"--(?=\s|\Z){line}|\#{line}" if self.backslashes else rf"--{line}"
        kinds = {
            "executed": self.executed or r"(?!)",
            "comment": rf"{dashes}|/\*",
            "quoted": "|".join(self._quoted()),
            "blank": r"\s+",
            "word": r"[^\W\d][\w$]*|\d[\w.]*",
            "pair": r"::|:=|\\\\",
            "escape": r"\\:",
            "parameter": r":\w+",
            "sign": r"[^\w\s'\"`$:\\/\-\#\[\]();]+|.",
        }
        return re.compile("|".join(f"(?P<{kind}>{pattern})" for kind, pattern in kinds.items()), re.DOTALL)

    def _quoted(self) -> Iterator[str]:
        plain = r"(?:[^Q\\]++|\\(?:.|\Z)|QQ)*(?:Q|\Z)" if self.backslashes else r"(?:[^Q]++|QQ)*(?:Q|\Z)"
        for quote in "'\"":
            yield quote + plain.replace("Q", quote)
        if self.backticks:
            yield r"`(?:[^`]++|``)*(?:`|\Z)"
        if self.escapes:
            yield rf"[eE]'{_ESCAPED}(?:{_GAP}{_ESCAPED})*(?:'|\Z)"
        if self.dollars:
            yield r"\$(?P<tag>(?:[^\W\d]\w*)?)\$.*?(?:\$(?P=tag)\$|\Z)"
        if self.marked:
            yield _ORACLE
        if self.brackets:
            yield r"\[[^\]]*+(?:\]|\Z)"


POSTGRESQL = Grammar(nested=True, returns=True, escapes=True, dollars=True, backticks=False)
PLAIN = Grammar(dollars=True)
_OTHERS = {
    "mysql": Grammar(backslashes=True, executed=r"/\*!\d*"),
    "mariadb": Grammar(backslashes=True, executed=r"/\*M?!\d*"),
    "oracle": Grammar(marked=True),
    "sqlite": Grammar(brackets=True),
    "mssql": Grammar(nested=True, brackets=True),
}
GRAMMARS = (POSTGRESQL, PLAIN, *_OTHERS.values())


def grammar_of(database: str) -> Grammar:
    """The grammar of a kind of database, as SQLAlchemy names it."""
    return POSTGRESQL if database in ("postgresql", "cockroachdb", "redshift", "duckdb") else _OTHERS.get(database, PLAIN)


@dataclass(frozen=True, slots=True)
class Token:
    """kind: executed, comment, quoted, blank, word, pair (`::`, `:=`, two backslashes), escape, parameter, colon, sign.

    A colon is one with a name behind it that is no parameter. A parameter that is `unsure` may be the end of an array's
    slice, as in `a[:n]`: it is one if there is a value for it.
    """

    kind: str
    text: str
    unsure: bool = False

    @property
    def name(self) -> str:
        """Of a parameter or a colon."""
        return self.text[1:]

    @property
    def ends_value(self) -> bool:
        """Whether a value, a name or a word may end with it."""
        return self.kind in ("word", "quoted", "parameter") or self.text in (")", "]")


def tokens_of(statement: str, grammar: Grammar) -> Iterator[Token]:
    """The statement's tokens, whose texts are the whole statement; all that may be a parameter is one."""
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
