"""Who comes in by their release: one minor apart is let in, two are told what to update."""

import msgspec
import pytest
import requests

from edgelift_contract import __version__, codec, routes
from edgelift_contract.enrol import EnrolReply, EnrolRequest
from edgelift_contract.replies import ErrorReply
from edgelift_contract.report import DeviceFacts
from edgelift_contract.versions import minor_of
from tests.fleet.conftest import Server
from tests.waiting import LONG_S

pytestmark = [pytest.mark.fleet]

MAJOR, MINOR = minor_of(__version__)


def enrol(server: Server, version: str) -> requests.Response:
    facts = DeviceFacts(hardware_class="arm64-neon")
    request = EnrolRequest(schema=1, device="pi-1", facts=facts, agent_version=version)
    headers = {"Authorization": f"Bearer {server.token}"}
    return requests.post(server.url + routes.ENROL, codec.canonical_json(request), headers=headers, timeout=LONG_S)


def test_agents_are_judged_when_they_enrol(server: Server) -> None:
    refused = enrol(server, f"{MAJOR}.{MINOR + 2}.0")
    told = msgspec.json.decode(refused.content, type=ErrorReply)
    assert (refused.status_code, told.code) == (409, "version-skew")
    assert "Update the control plane first" in told.hint and f"{MAJOR}.{MINOR + 1} at least" in told.hint
    headers = {"Authorization": f"Bearer {server.operator}"}
    assert requests.get(f"{server.url}/v1/devices", headers=headers, timeout=LONG_S).json() == []
    assert "refused device=pi-1 code=version-skew" in server.log.read_text()
    for version in (f"{MAJOR}.{MINOR + 1}.7", f"{MAJOR}.{max(0, MINOR - 1)}.0", __version__, ""):
        answer = enrol(server, version)
        assert answer.status_code == 200
        assert msgspec.json.decode(answer.content, type=EnrolReply).host_version == __version__
