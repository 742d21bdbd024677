"""What is signed elsewhere is brought over the API: taken when it follows from what stands, refused with its code."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.fleet.in_process import Api, api_of
from tests.fleet.trust.sites import KEY, listed_of, sign, standing
from tuf.api.metadata import Delegations

from edgelift_fleet.messages.people import AccessRequest
from edgelift_fleet.people.roles import OWNER
from edgelift_fleet.site import load_site
from edgelift_fleet.trust.image import Image
from edgelift_fleet.trust.key_files import new_private, signer_of

pytestmark = pytest.mark.fleet


@pytest.fixture
def api(site: Path) -> Iterator[Api]:
    sign(load_site(site), [])
    with api_of(site) as api, api.http:
        yield api


def bring(api: Api, image: Image) -> tuple[int, dict[str, object]]:
    roles = {role: data.decode() for role, data in image.files().items()}
    answer = api.http.put("/v1/trust/image", json={"roles": roles})
    return answer.status_code, answer.json()


def signed_by_nobody(image: Image) -> None:
    for name in image.changed:
        image.roles[name].signatures.clear()


def signed_by_another(image: Image) -> None:
    other = signer_of(new_private())
    for name in image.changed:
        image.roles[name].sign(other)


def lists_at_the_top(image: Image) -> None:
    """The builder's own role lists what belongs into a bin of its model."""
    targets = next(image.roles[name].signed for name in image.changed if image.roles[name].signed.targets)
    image.roles["builder"].signed.targets = dict(targets.targets)
    image.roles["builder"].sign(KEY)


def delegates_on(image: Image) -> None:
    """A bin delegates its paths to others: the same path could be reached two ways."""
    name = next(name for name in image.changed if name.startswith("bin."))
    image.roles[name].signed.delegations = Delegations({}, {})
    image.roles[name].sign(KEY)


def skips_a_version(image: Image) -> None:
    image.roles["builder"].signed.version += 1
    image.roles["builder"].sign(KEY)


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (signed_by_nobody, "not-signed"), (signed_by_another, "not-signed"), (lists_at_the_top, "metadata-wrong"),
        (delegates_on, "metadata-wrong"), (skips_a_version, "changed-meanwhile"),
    ],
    ids=lambda one: getattr(one, "__name__", one),
)  # fmt: skip
def test_what_does_not_follow_from_what_stands_is_refused_whole(
    api: Api, releases: dict[str, Path], spoil: Callable[[Image], None], code: str
) -> None:
    before = api.get("/v1/trust/image")
    image = standing(api)
    image.list_release(listed_of(releases["digits@1"]), time.time())
    if spoil is not signed_by_another:
        image.sign([KEY])
    spoil(image)
    status, said = bring(api, image)
    assert status >= 400 and said["code"] == code, said
    assert api.get("/v1/trust/image") == before

    good = standing(api)
    good.list_release(listed_of(releases["digits@1"]), time.time())
    good.sign([KEY])
    assert bring(api, good)[0] == 200
    assert set(api.get("/v1/trust/image")["roles"]) > {"root", "targets", "builder", "model.digits"}


def test_an_operator_brings_what_is_genuine_and_an_admin_who_may_sign(api: Api, releases: dict[str, Path]) -> None:
    image, now = standing(api), time.time()
    image.list_release(listed_of(releases["digits@1"]), now)
    image.sign([KEY])
    roles = {role: data.decode() for role, data in image.files().items()}
    made = api.fleet.people.make_access(AccessRequest(role="operator"), OWNER)
    mine = {"Authorization": f"Bearer {made.token}"}
    for signers in (
        {"roles": {**roles, "root": "{}"}},
        {"roles": {"targets": "{}"}},
        {"roles": {}, "director": "{}"},
    ):
        refused = api.http.put("/v1/trust/image", json=signers, headers=mine)
        assert (refused.status_code, refused.json()["code"]) == (403, "role-too-low")
    taken = api.http.put("/v1/trust/image", json={"roles": roles}, headers=mine)
    assert taken.status_code == 200 and not {"root", "targets"} & set(taken.json()["versions"])


def test_the_control_planes_own_roles_are_brought_by_nobody(api: Api) -> None:
    for role in ("snapshot", "timestamp", "model.", "bin.digits/../x", "other"):
        answer = api.http.put("/v1/trust/image", json={"roles": {role: "{}"}})
        assert answer.json()["code"] == "malformed", answer.text


def test_what_ends_soon_is_told_wherever_the_fleet_is_looked_at(api: Api) -> None:
    places = ("/v1/health", "/v1/devices/counts", "/v1/trust")
    assert [api.get(path)["warnings"] for path in places] == [[], [], []]
    api.fleet.signed.look(time.time() + 340 * 86400)
    for path in places[:2]:
        warnings = api.get(path)["warnings"]
        assert len(warnings) == 3 and all("edgelift keys renew" in one for one in warnings)
