"""The language in which people name devices: `tag:barn and (class:arm64-* or not runs:digits@3)`.

Terms (`selector_terms`) joined by `and`, `or`, `not` and parentheses; `not` binds closest, then `and`. A value
with spaces or parentheses stands in quotes. Pure: text in, a small tree out; which devices it means is asked of
`cohorts`. Bounded, so that no text costs more than it is long.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from edgelift_contract.errors import ContractError
from edgelift_fleet.messages.asked import MAX_SELECTOR
from edgelift_fleet.selector_terms import Term, parse_term

#: Characters in all: a list of 5,000 long ids.
MAX_LENGTH = MAX_SELECTOR
MAX_TERMS = 100
MAX_DEPTH = 32
_WORDS = ("and", "or", "not")
_LONGEST_WORD = 3
#: What was a selector before there was a language: any text after `=` is the value, spaces and all.
_PLAIN_TAG = re.compile(r"^tag:(?P<key>[^=~\s]+)=(?P<value>[^()\"':]*)\Z", re.DOTALL)


@dataclass(frozen=True)
class Not:
    """All devices but these."""

    of: Tree


@dataclass(frozen=True)
class And:
    """Devices that all parts mean."""

    parts: tuple[Tree, ...]


@dataclass(frozen=True)
class Or:
    """Devices that one of the parts means."""

    parts: tuple[Tree, ...]


Tree = Term | Not | And | Or


@dataclass(frozen=True)
class _Token:
    at: int
    text: str
    plain: bool  # not quoted: may be a word of the language


@lru_cache(maxsize=64)
def parse_selector(text: str) -> Tree:
    """Read a selector.

    Raises:
        ContractError: `bad-id`, with the place in the text.
    """
    if len(text) > MAX_LENGTH:
        raise ContractError("bad-id", f"The selector has {len(text)} characters; at most {MAX_LENGTH} are read.")
    if "\0" in text:
        raise _refusal(text, text.index("\0"), "there is no such character")  # a database may refuse it
    plain = _PLAIN_TAG.match(text)
    if plain and not {word.lower() for word in plain["value"].split()} & set(_WORDS):
        return _term(text, _Token(0, text, plain=False))
    parser = _Parser(text)
    tree = parser.either(0)
    if parser.here is not None:
        raise parser.expected("“and”, “or” or the end")
    return tree


def short(selector: str, limit: int = 60) -> str:
    """A selector for a line of text: lists of ids can be very long."""
    return selector if len(selector) <= limit else f"{selector[: limit - 1]}…"


class _Parser:
    """One pass over the tokens; `here` is the next one, None at the end."""

    def __init__(self, text: str) -> None:
        self._text, self._terms = text, 0
        self._tokens = _tokens(text)
        self.here = next(self._tokens, None)

    def either(self, depth: int) -> Tree:
        parts = [self._both(depth)]
        while self._take("or"):
            parts.append(self._both(depth))
        return Or(tuple(parts)) if len(parts) > 1 else parts[0]

    def _both(self, depth: int) -> Tree:
        parts = [self._one(depth)]
        while self._take("and"):
            parts.append(self._one(depth))
        return And(tuple(parts)) if len(parts) > 1 else parts[0]

    def _one(self, depth: int) -> Tree:
        token = self.here
        if depth > MAX_DEPTH:
            raise _refusal(self._text, token.at if token else len(self._text), "it is nested too deeply")
        if self._take("not"):
            return Not(self._one(depth + 1))
        if self._take("("):
            tree = self.either(depth + 1)
            if not self._take(")"):
                raise self.expected("“)”")
            return tree
        if token is None or (token.plain and token.text.lower() in (*_WORDS, ")")):
            raise self.expected("a term, “not” or “(”")
        self._terms += 1
        if self._terms > MAX_TERMS:
            raise _refusal(self._text, token.at, f"it has more than {MAX_TERMS} terms")
        self.here = next(self._tokens, None)
        return _term(self._text, token)

    def _take(self, word: str) -> bool:
        if self.here is None or not self.here.plain or self.here.text.lower() != word:
            return False
        self.here = next(self._tokens, None)
        return True

    def expected(self, what: str) -> ContractError:
        return _refusal(self._text, self.here.at if self.here else len(self._text), f"expected {what}")


def _term(text: str, token: _Token) -> Term:
    try:
        return parse_term(token.text)
    except ContractError as error:
        raise _refusal(text, token.at, error.message.rstrip(".")) from error


def _tokens(text: str) -> Iterator[_Token]:
    at = 0
    while at < len(text):
        if text[at].isspace():
            at += 1
        elif text[at] in "()":
            yield _Token(at, text[at], plain=True)
            at += 1
        else:
            token, end = _run(text, at)
            yield token
            at = end


def _run(text: str, start: int) -> tuple[_Token, int]:
    """The token that begins at `start`, and where it ends. Parentheses inside a term belong to it: `tag:at=hall(2)`."""
    parts: list[str] = []
    at, nested, plain = start, 0, True
    while at < len(text) and not text[at].isspace():
        sign = text[at]
        if sign in "\"'" and (at == start or not text[at - 1].isalnum()):
            end = text.find(sign, at + 1)
            if end < 0:
                raise _refusal(text, at, f"the quote {sign} is not closed")
            parts.append(text[at + 1 : end])
            at, plain = end + 1, False
            continue
        if sign == "(" and at - start <= _LONGEST_WORD and plain and text[start:at].lower() in _WORDS:
            break
        nested += (sign == "(") - (sign == ")")
        if nested < 0:
            break
        parts.append(sign)
        at += 1
    return _Token(start, "".join(parts), plain), at


def _refusal(text: str, at: int, what: str) -> ContractError:
    near = f"before {short(text[at:], 30)!r}" if at < len(text) else "its end"
    return ContractError(
        "bad-id",
        f"The selector {short(text)!r} is not understood at character {at + 1} ({near}): {what}.",
        hint="Write all, tag:KEY, tag:KEY=VALUE, class:CLASS, fact:NAME>=VALUE, id:DEVICE or runs:MODEL@VERSION, "
        "joined by and, or, not and parentheses.",
    )
