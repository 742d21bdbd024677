"""What a request brings and what it takes: judged by its headers before its body is read."""

from __future__ import annotations

from collections.abc import Collection

from starlette.requests import Request

from edgelift_contract.errors import ContractError

JSON = "application/json"


def media_type(header: str) -> str:
    """A media type without its parameters, in small letters. Pure."""
    return header.partition(";")[0].strip().lower()


def is_taken(header: str, takes: Collection[str]) -> bool:
    """May a body that calls itself so be read as one of `takes`? One without a type may: it says nothing else. Pure."""
    named = media_type(header)
    if not named or named in takes or "application/octet-stream" in takes:
        return True
    return JSON in takes and named.startswith("application/") and named.endswith("+json")


def is_acceptable(header: str, gives: Collection[str]) -> bool:
    """Does an `Accept` header leave one of `gives`? No header takes everything (RFC 9110 §12.5.1). Pure."""
    if not header.strip():
        return True
    wanted = [_range(part) for part in header.split(",") if part.strip()]
    for media in gives:
        kind = media.partition("/")[0]
        # The narrowest range that names it decides.
        for name in (media, f"{kind}/*", "*/*"):
            weights = [weight for range_, weight in wanted if range_ == name]
            if weights:
                if max(weights) > 0:
                    return True
                break
    return False


def _range(part: str) -> tuple[str, float]:
    name, *parameters = (piece.strip().lower() for piece in part.split(";"))
    weight = next((text[2:] for text in parameters if text.startswith("q=")), "1")
    try:
        return name, float(weight)
    except ValueError:
        return name, 1.0


async def judge_media(request: Request) -> None:
    """A dependency of FastAPI: judges a request to a route by what the route's tables say that it takes and gives.

    Raises:
        ContractError: `wrong-media-type` (415) or `not-acceptable` (406).
    """
    route = request.scope.get("route")
    body = (getattr(route, "openapi_extra", None) or {}).get("requestBody", {}).get("content", {})
    headers = request.headers
    coding = headers.get("content-encoding", "identity").strip().lower()
    sent = headers.get("content-type", "")
    if body and not (is_taken(sent, body) and coding in ("", "identity")):
        what = f"The body is {media_type(sent) or 'compressed'}" + (f", {coding}" if coding != "identity" else "")
        raise ContractError(
            "wrong-media-type", f"{what[:200]}; this takes {' or '.join(body)}.",
            hint=f"Send it with Content-Type: {next(iter(body))}, not compressed.",
        )  # fmt: skip
    gives = {
        media for status, answer in (getattr(route, "responses", None) or {}).items()
        if 200 <= int(status) < 300 for media in answer.get("content", ())
    }  # fmt: skip
    if gives and not is_acceptable(headers.get("accept", ""), gives):
        raise ContractError(
            "not-acceptable", f"This answers {' or '.join(sorted(gives))}, which the request does not accept.",
            hint="Leave out Accept, or name it there.",
        )  # fmt: skip
