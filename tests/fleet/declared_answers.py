"""Both sides of the API in this process, and its answers held against its document."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema_rs

from edgelift_fleet.api.declared import CODES_KEY
from edgelift_fleet.api.document import operations
from edgelift_fleet.api.examples import EXAMPLES
from tests.fleet.in_process import Api, api_of


@dataclass(frozen=True)
class Operation:
    """One operation of the document, with its answers in full: status → response."""

    name: str
    method: str
    path: str
    side: str
    parameters: tuple[dict[str, Any], ...]
    takes: str
    example: Any
    answers: dict[str, dict[str, Any]]

    @property
    def codes(self) -> set[str]:
        """All codes that it declares."""
        return {code for answer in self.answers.values() for code in answer.get(CODES_KEY, ())}

    def place(self, **names: str) -> str:
        """Its path, with `names` and, of others, the document's examples."""
        values = {one["name"]: one.get("example", "pause") for one in self.parameters if one["in"] == "path"}
        return self.path.format(**{**values, **names})


class Declared:
    """The document of an API, and what is asked of it."""

    def __init__(self, api: Api) -> None:
        self.api, self.client = api, api.http
        self.tokens = {
            "devices": api.fleet.site.secret("enrolment-token"),
            "operators": api.fleet.site.secret("operator-token"),
        }
        self.document: dict[str, Any] = self.client.get("/openapi.json").json()
        self.operations = {one.name: one for one in self._operations()}
        self._validators: dict[str, Any] = {}

    def _operations(self) -> Iterator[Operation]:
        shared = self.document["components"]["responses"]
        for path, method, one in operations(self.document):
            answers = {
                status: shared[answer["$ref"].rpartition("/")[2]] if "$ref" in answer else answer
                for status, answer in one["responses"].items()
            }
            content = one.get("requestBody", {}).get("content", {})
            schema = content.get("application/json", {}).get("schema", {})
            example = EXAMPLES.get(schema.get("$ref", "").rpartition("/")[2])
            yield Operation(
                one["operationId"], method.upper(), path, "devices" if "devices" in one["tags"] else "operators",
                tuple(one.get("parameters", ())), next(iter(content), ""), example, answers,
            )  # fmt: skip

    def said(self, operation: Operation) -> dict[str, Any]:
        """What the document says of an operation."""
        found: dict[str, Any] = self.document["paths"][operation.path][operation.method.lower()]
        return found

    def ask(self, operation: Operation, path: str = "", **options: Any) -> Any:
        """Ask with the right token, and hold the answer against the document."""
        headers = {"Authorization": f"Bearer {self.tokens[operation.side]}"}
        if operation.takes and "content" in options:
            headers["Content-Type"] = operation.takes
        given = {**headers, **options.pop("headers", {})}
        answer = self.client.request(
            operation.method, path or operation.place(), headers=given, follow_redirects=False, **options
        )
        self.check(operation, answer, given, options)
        return answer

    def check(self, operation: Operation, answer: Any, *sent: object) -> None:
        """Is it declared, with this status, type, code and body?"""
        where = (
            operation.name,
            answer.request.method,
            str(answer.request.url)[:300],
            repr(sent)[:700],
        )
        said = (answer.status_code, answer.text[:500])
        assert answer.status_code < 500, (where, said)
        declared = operation.answers.get(str(answer.status_code))
        assert declared is not None, (where, said)
        assert answer.headers["Edgelift"] == "1", (where, said)
        if not declared.get("content"):
            return
        media = answer.headers["Content-Type"].partition(";")[0]
        assert media in declared["content"], (where, said)
        if CODES_KEY in declared:
            assert answer.json()["code"] in declared[CODES_KEY], (where, said)
        if media.endswith(("/json", "+json")):
            error = next(self._validator(declared["content"][media]["schema"]).iter_errors(answer.json()), None)
            assert error is None, (where, said, str(error)[:500])

    def _validator(self, schema: dict[str, Any]) -> Any:
        key = repr(schema)
        if key not in self._validators:
            whole = {**schema, "components": self.document["components"]}
            self._validators[key] = jsonschema_rs.validator_for(whole)
        return self._validators[key]


@contextmanager
def declared_api(site: Path) -> Iterator[Declared]:
    """The API of a site that was made, devices' side and all."""
    with api_of(site) as api, api.fleet.inbox, api.http:
        yield Declared(api)
