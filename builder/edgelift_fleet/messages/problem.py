"""A refusal as operators and their tools get it, and what a code means."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from edgelift_contract.bounds import Line, LongName, Text, Word
from edgelift_contract.replies import ErrorReply

HttpStatus = Annotated[int, Meta(ge=100, le=599)]


class Problem(ErrorReply, frozen=True, kw_only=True):
    """Every refusal of the operators' side: the three members that each refusal has, and those of RFC 9457.

    Attributes:
        type: where the code's meaning stands, as a path of this server; one for each code.
        title: the code's meaning, the same each time.
        status: of HTTP.
        detail: what was wrong this time; the same as `error`.
        instance: the path that was asked for.
    """

    type: Line
    title: Line
    status: HttpStatus
    detail: Text
    instance: LongName = ""


class CodeMeaning(msgspec.Struct, frozen=True):
    """What a refusal's code means, and the status that it comes with."""

    code: Word
    meaning: Line
    status: HttpStatus
