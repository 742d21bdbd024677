"""What a refusal's code means: where a problem's `type` leads."""

from __future__ import annotations

from fastapi import APIRouter, Response

from edgelift_contract import codec
from edgelift_contract.errors import CODES, ContractError
from edgelift_fleet.api.declared import status_of_code
from edgelift_fleet.api.schema import answers
from edgelift_fleet.messages import CodeMeaning


def code_routes() -> APIRouter:
    """Open to everybody, as the OpenAPI document is: a person follows a link to it."""
    router = APIRouter(tags=["codes"])

    @router.get("/v1/errors/{code}", responses=answers(CodeMeaning, "not-found", "internal"))
    def meaning(code: str) -> Response:
        """What the code of a refusal means."""
        if code not in CODES:
            raise ContractError("not-found", f"There is no code {code[:64]!r}.", hint="See docs/errors.md.")
        told = CodeMeaning(code, CODES[code], status_of_code(code))
        return Response(codec.canonical_json(told), media_type="application/json")

    return router
