"""Somebody answers in the site's place while a device enrols, with an authority of his own."""

import re
import time
from pathlib import Path

import pytest
from tests.attacks.false_host import FalseHost
from tests.attacks.who import SecureSite

from edgelift_agent.enrolling import enroll
from edgelift_contract import codec
from edgelift_contract.errors import EdgeliftError
from edgelift_contract.identity import Authorities, EnrolToken, dump_token, parse_token
from edgelift_contract.replies import MARK
from edgelift_fleet.identity.authority import Authority

pytestmark = pytest.mark.fleet


@pytest.mark.parametrize("says", ["its own authority", "the site's authority", "no authority"])
def test_it_is_shown_no_secret_and_trusted_with_nothing(secure: SecureSite, tmp_path: Path, says: str) -> None:
    own = Authority.make("evil", time.time())
    shown = {"its own authority": own.certificate, "the site's authority": secure.authority.certificate}.get(
        says, ""
    )
    token = secure.token()
    read = parse_token(token)
    with FalseHost(tmp_path, own) as host:
        body = codec.canonical_json(Authorities(schema=1, certificates=shown))
        host.answer = lambda *_: (200, {"Content-Type": "application/json", MARK: "1"}, body)
        false = dump_token(EnrolToken(schema=1, url=host.url, pin=read.pin, secret=read.secret))
        config = tmp_path / "agent.toml"
        name = f"lured-{re.sub('[^a-z]', '-', says)}"
        config.write_text(f'device = "{name}"\nstate_dir = "{tmp_path / "state"}"\n[host]\nurl = "{host.url}"\n')
        with pytest.raises(EdgeliftError) as caught:
            enroll(config, false, "", again=False)
        assert caught.value.code == "tls-failed"
        assert read.secret not in "".join(host.heard) and all("/v1/authority" in one for one in host.heard)
    assert secure.used(token) == 0 and not (tmp_path / "state" / "identity" / "device.pem").exists()
    config.write_text(config.read_text().replace(host.url, secure.server.url))
    assert "is enrolled" in enroll(config, token, "", again=False)
