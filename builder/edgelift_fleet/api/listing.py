"""What every list over HTTP shares: which page is asked for, and how a page is answered.

Without `limit`, `after` and `sort` the whole list is answered, up to a stated maximum. `Total-Count` says how many there are
on all pages; `Link` with `rel="next"` is where the next page is, and is missing on the last.
"""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import Request, Response
from pydantic import BaseModel, ConfigDict, Field

from edgelift_contract import codec
from edgelift_fleet.paging import LIMIT, MAX_LIMIT, Page, Wish


class PageQuery(BaseModel):
    """The parameters of a list. One that isn't known is refused: a filter with a slip in its name would filter nothing."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    limit: Annotated[int | None, Field(ge=1, le=MAX_LIMIT, description=f"At most so many; {LIMIT} on a page.")] = (
        None
    )
    after: Annotated[
        str, Field(max_length=160, description="Only what comes after this id; then a page is answered.")
    ] = ""
    sort: Annotated[str, Field(max_length=32, description="A key; with - before it, downwards.")] = ""

    def wish(self, whole: Wish) -> Wish:
        """The page that is asked for; of `whole` when none is."""
        if not (self.limit or self.after or self.sort):
            return whole
        return Wish(self.limit or LIMIT, self.after, self.sort)


def answer_page(request: Request, page: Page[Any]) -> Response:
    """A page as an answer."""
    headers = {"Total-Count": str(page.total)}
    if page.next:
        kept = [(name, value) for name, value in request.query_params.multi_items() if name != "after"]
        if not any(name == "limit" for name, _ in kept):
            kept.append(("limit", str(min(len(page.items), MAX_LIMIT))))
        headers["Link"] = f'<{request.url.path}?{urlencode([*kept, ("after", page.next)])}>; rel="next"'
    return Response(codec.canonical_json(page.items), headers=headers, media_type="application/json")
