"""Something on the way answers in the host's place: a redirect, a sign-in page, nothing."""

from collections.abc import Callable
from typing import Any

import pytest
from tests.attacks.board import DEVICE, Board

from edgelift_agent.link.http import HttpTransport
from edgelift_contract import routes
from edgelift_contract.errors import EdgeliftError


def answer(status: int, body: bytes = b"", **headers: str) -> Callable[[Any], None]:
    def give(handler: Any) -> None:
        handler.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return give


ODD = {
    "a redirect": answer(302, Location="http://127.0.0.1:9/elsewhere"),
    "a sign-in page": answer(200, b"<html>sign in</html>", Content_Type="text/html"),
    "nothing new, by whoever": answer(304),
    "gone, by whoever": answer(404, b"{}", Content_Type="application/json"),
    "packed": answer(200, b"x", Content_Type="application/json", Content_Encoding="gzip"),
    "a fault": answer(500, b"oops"),
}


@pytest.mark.parametrize("name", ODD)
def test_it_is_not_taken_for_the_hosts_word(alone: Board, name: str) -> None:
    before = alone.trusted()
    alone.server.odd[f"{routes.desired_path(DEVICE)}?wait_s=0"] = ODD[name]
    with pytest.raises(EdgeliftError) as caught:
        HttpTransport(alone.server.url, "token", DEVICE).poll(None, 0.0, nonce=alone.trust.nonce)
    assert caught.value.code in ("intercepted", "server-error") and alone.trusted() == before
    alone.passes()
