"""The document's links lead where they say: every one is followed from a true answer, and what it leads to is there."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fleet.conftest import both_engines
from tests.fleet.declared_answers import Declared, Operation, declared_api
from tests.fleet.releases import make_release

pytestmark = pytest.mark.fleet

#: In the order of a site's life, so that each begins where its predecessors led.
FIRST = [
    "post_enroll", "put_devices_report", "post_devices_telemetry", "get_devices_desired", "devices", "assign", "releases",
    "start", "rollouts", "rollout", "command", "mend", "publish", "retire_release",
]  # fmt: skip
#: What may be refused where a link leads, by the state of things: a second rollout, one that is paused already, …
MAY_BE = {"conflict", "retired", "not-found"}
#: … but these were seen to succeed at least once.
MUST = {
    "assign", "assign_all", "clear", "command", "device", "gauges_of", "get_devices_desired", "mend", "preview",
    "put_devices_report", "release", "retire_release", "rollout", "sample", "tags", "unretire_release",
}  # fmt: skip


@pytest.fixture
def declared(site: Path, tmp_path: Path) -> Iterator[Declared]:
    with declared_api(site) as made:
        make_release(tmp_path / "new", "2")
        yield made


@both_engines
def test_every_link_leads_somewhere(declared: Declared) -> None:
    followed: set[tuple[str, str]] = set()
    succeeded: set[str] = set()
    for name in FIRST:
        operation = declared.operations[name]
        sent = operation.example
        path = operation.place(rollout="r1")
        answer = declared.ask(operation, path, **({} if sent is None else {"content": json.dumps(sent)}))
        if answer.status_code != 200:
            assert name in ("publish", "get_devices_desired", "command"), (name, answer.text)
            continue
        for label, link in sorted(operation.answers["200"].get("links", {}).items()):
            led = follow(declared, operation, path, sent, answer.json(), link)
            followed.add((name, label))
            said = led.json() if led.content else {}
            assert led.status_code in (200, 304) or said["code"] in MAY_BE, (name, label, led.text)
            if led.status_code in (200, 304):
                succeeded.add(link["operationId"])
    assert succeeded >= MUST, MUST - succeeded
    assert len(followed) > 40


def follow(declared: Declared, source: Operation, path: str, sent: Any, came: Any, link: dict[str, Any]) -> Any:
    """What a link's target answers."""
    target = declared.operations[link["operationId"]]
    names = dict(
        zip(re.findall(r"\{(\w+)\}", source.path), re.fullmatch(_pattern(source.path), path).groups(), strict=True)
    )
    values = {name: evaluate(text, names, sent, came) for name, text in link["parameters"].items()}
    body = link.get("requestBody", target.example)
    options = {} if body is None else {"content": json.dumps(evaluate(body, names, sent, came))}
    return declared.ask(target, target.place(**values), **options)


def _pattern(template: str) -> str:
    return re.sub(r"\\\{\w+\\\}", "([^/]+)", re.escape(template))


def evaluate(value: Any, names: dict[str, str], sent: Any, came: Any) -> Any:
    """A value of a link, with its runtime expressions (OpenAPI 3.1 §4.8.20.3) replaced."""
    if isinstance(value, dict):
        return {key: evaluate(one, names, sent, came) for key, one in value.items()}
    if isinstance(value, list):
        return [evaluate(one, names, sent, came) for one in value]
    if not isinstance(value, str):
        return value
    if value.startswith("$"):
        return _expression(value, names, sent, came)
    return re.sub(r"\{(\$[^}]+)\}", lambda found: str(_expression(found[1], names, sent, came)), value)


def _expression(text: str, names: dict[str, str], sent: Any, came: Any) -> Any:
    if text.startswith("$request.path."):
        return names[text.removeprefix("$request.path.")]
    where, _, pointer = text.partition("#/")
    found = {"$response.body": came, "$request.body": sent}[where]
    for part in pointer.split("/"):
        found = found[int(part)] if isinstance(found, list) else found[part]
    return found
