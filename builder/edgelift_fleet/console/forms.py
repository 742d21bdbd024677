"""Forms as browsers send them."""

from __future__ import annotations

from urllib.parse import parse_qsl

from starlette.requests import Request

from edgelift_contract.errors import ContractError
from edgelift_fleet.api.limits import read_body

_MAX_BYTES, _MAX_FIELDS = 64 * 1024, 200


async def read_form(request: Request) -> dict[str, str]:
    """A form's fields, of each name the last. Raises ContractError `too-large`, `malformed`."""
    body = await read_body(request, _MAX_BYTES)
    return parse_form(body)


def parse_form(body: bytes) -> dict[str, str]:
    """The fields of a body of `application/x-www-form-urlencoded` (URL Standard §5). Raises ContractError `malformed`."""
    try:
        text = body.decode("utf-8")
        return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=_MAX_FIELDS, errors="strict"))
    except ValueError as error:
        raise ContractError(
            "malformed", "The form can't be read: it is no UTF-8, or has too many fields."
        ) from error
