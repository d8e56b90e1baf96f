"""A `where` written as text."""

from __future__ import annotations

import re
from typing import NamedTuple, NoReturn

from findling.errors import QueryError
from findling.where.tree import (
    KEYWORDS,
    MAX_CONDITIONS,
    MAX_DEPTH,
    MAX_VALUES,
    And,
    Compare,
    Contains,
    In,
    IsNull,
    Not,
    Or,
    Tree,
    Value,
    check_value,
    join,
    negate,
)

# Quoted texts are matched possessively: else a quote that is never closed is tried again from every place in
# it, and each place is kept in memory until then.
_TOKEN = re.compile(
    r"""\s*+(?:(?P<text>'(?:[^']|'')*+')
      | (?P<quoted>"(?:[^"]|"")++")
      | (?P<number>[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?)
      | (?P<word>[^\W\d]\w*)
      | (?P<sign>!=|<>|<=|>=|==|[=<>(),])
      | (?P<end>$)
      | (?P<other>.))""",
    re.VERBOSE | re.DOTALL,
)


class _Token(NamedTuple):
    kind: str
    word: str
    at: int


class Text:
    """A recursive descent parser that reads one token ahead."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.places: dict[int, str] = {}
        self.depth = 0
        self.count = 0
        self.token = self._read(0)

    def tree(self) -> tuple[Tree, dict[int, str]]:
        """The tree, and each condition's place in the text by its identity."""
        tree = self._or()
        if self.token.kind != "end":
            self._wrong("and, or, or the end")
        return tree, self.places

    def _read(self, at: int) -> _Token:
        match = _TOKEN.match(self.text, at)
        assert match is not None  # noqa: S101 - the last alternatives match anything
        kind = match.lastgroup or "end"
        token = _Token(kind, match[kind], match.start(kind))
        self._next_at = match.end()
        if kind == "word" and token.word.lower() in KEYWORDS:
            return _Token("keyword", token.word.lower(), token.at)
        return token

    def _take(self) -> _Token:
        token, self.token = self.token, self._read(self._next_at)
        return token

    def _took(self, *words: str) -> str | None:
        """The next token, taken, where it is one of these keywords or signs."""
        if self.token.kind in ("keyword", "sign") and self.token.word in words:
            return self._take().word
        return None

    def _expect(self, word: str) -> None:
        if not self._took(word):
            self._wrong(repr(word))

    def _wrong(self, expected: str) -> NoReturn:
        _, word, at = self.token
        found = repr(word if len(word) <= 40 else word[:39] + "…") if word else "the end"
        hint = "a quote is not closed" if word in ("'", '"') else ""
        raise QueryError(f"where, character {at + 1}: found {found}, expected {expected}", todo=hint)

    def _deeper(self) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            what = f"where, character {self.token.at + 1}: nested deeper than {MAX_DEPTH}"
            raise QueryError(what, todo="write it flatter")

    def _or(self) -> Tree:
        parts = [self._and()]
        while self._took("or"):
            parts.append(self._and())
        return join(Or, parts)

    def _and(self) -> Tree:
        parts = [self._negated()]
        while self._took("and"):
            parts.append(self._negated())
        return join(And, parts)

    def _negated(self) -> Tree:
        if self._took("not"):
            self._deeper()
            # The parenthesis of "not (...)" is no level of its own.
            tree = self._group() if self._took("(") else self._negated()
            self.depth -= 1
            return negate(tree)
        if self._took("("):
            self._deeper()
            tree = self._group()
            self.depth -= 1
            return tree
        return self._condition()

    def _group(self) -> Tree:
        tree = self._or()
        self._expect(")")
        return tree

    def _condition(self) -> Tree:
        self.count += 1
        if self.count > MAX_CONDITIONS:
            raise QueryError("the where has too many conditions", todo=f"{MAX_CONDITIONS} may be")
        place = f"character {self.token.at + 1}"
        if self.token.kind not in ("word", "quoted"):
            self._wrong("a column, not or (")
        word = self._take()
        column = word.word[1:-1].replace('""', '"') if word.kind == "quoted" else word.word
        tree = self._said_of(column)
        self.places[id(tree.part if isinstance(tree, Not) else tree)] = place
        return tree

    def _said_of(self, column: str) -> Tree:
        if op := self._took("=", "==", "!=", "<>", "<", "<=", ">", ">="):
            return Compare(column, {"==": "=", "<>": "!="}.get(op, op), self._value())
        if self._took("is"):
            negated = self._took("not")
            self._expect("null")
            return Not(IsNull(column)) if negated else IsNull(column)
        negated = self._took("not")
        tree: Tree
        if self._took("contains"):
            tree = Contains(column, self._value())
        elif self._took("in"):
            tree = In(column, self._values())
        elif negated:
            self._wrong("in or contains")
        elif self.token.kind in ("end", "keyword") or self.token.word == ")":
            tree = Compare(column, "=", True)
        else:
            self._wrong("a comparison, in, contains or is")
        return Not(tree) if negated else tree

    def _values(self) -> tuple[Value, ...]:
        self._expect("(")
        values = [self._value()]
        while self._took(","):
            values.append(self._value())
            if len(values) > MAX_VALUES:
                raise QueryError("the lists of the where are too long", todo=f"{MAX_VALUES} values may be")
        self._expect(")")
        return tuple(values)

    def _value(self) -> Value:
        kind, word, at = self.token
        if kind == "text":
            value: Value = word[1:-1].replace("''", "'")
        elif kind == "number" and len(word) <= 400:
            value = int(word) if re.fullmatch(r"[-+]?\d+", word) else float(word)
        elif kind == "keyword" and word in ("true", "false"):
            value = word == "true"
        else:
            self._wrong("a value: 'text', a number, true or false")
        check_value(value, f"character {at + 1}")
        self._take()
        return value
