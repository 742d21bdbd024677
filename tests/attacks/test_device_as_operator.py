"""A device's certificate is shown where operators call: on every one of their routes."""

import json
import re

import pytest
import requests
from tests.attacks.who import SecureSite

pytestmark = pytest.mark.fleet

#: Anybody may ask for these: the document itself, what codes mean, who may vouch for the server.
OPEN = re.compile(r"/openapi\.json|/v1/errors.*|/v1/authority")


def test_it_opens_none_of_them(secure: SecureSite) -> None:
    board = secure.board("as-operator")
    authority = str(secure.server.site / "secrets" / "authority")
    document = requests.get(f"{secure.server.url}/openapi.json", verify=authority).json()
    shared = (secure.server.site / "secrets" / "enrolment-token").read_text().strip()
    asked = 0
    with secure.unchanged(board.name):
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                if OPEN.fullmatch(path) or method not in ("get", "put", "post", "delete", "patch"):
                    continue
                if "operator-token" not in json.dumps(operation.get("security", [])):
                    continue
                concrete = re.sub(r"\{\w+\}", board.name, path)
                bearer = shared if asked % 2 else ""
                said = secure.ask(board, method.upper(), concrete, {} if method != "get" else None, bearer=bearer)
                assert (said.status, said.code) == (401, "not-authorised"), (method, path)
                asked += 1
    assert asked > 40
    secure.told("not-authorised", board.address)
    assert secure.poll(board).status == 304
