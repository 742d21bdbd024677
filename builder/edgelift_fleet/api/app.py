"""The whole HTTP API of a site as one application."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import FastAPI
from starlette.types import ASGIApp

from edgelift_contract import __version__
from edgelift_fleet.api.alert_routes import alert_routes
from edgelift_fleet.api.audit_routes import audit_routes
from edgelift_fleet.api.blob_routes import blob_routes
from edgelift_fleet.api.bundle_routes import bundle_routes
from edgelift_fleet.api.code_routes import code_routes
from edgelift_fleet.api.device_document import SCHEMES, device_paths
from edgelift_fleet.api.device_list_routes import device_list_routes
from edgelift_fleet.api.device_routes import device_routes
from edgelift_fleet.api.device_side import DeviceSide
from edgelift_fleet.api.document import add_document, methods_of
from edgelift_fleet.api.errors import add_error_handlers
from edgelift_fleet.api.etags import Tagged
from edgelift_fleet.api.export_routes import export_routes
from edgelift_fleet.api.guard import Guard
from edgelift_fleet.api.head import Headed
from edgelift_fleet.api.identity_routes import identity_routes
from edgelift_fleet.api.keeping_routes import keeping_routes
from edgelift_fleet.api.limits import Bearer
from edgelift_fleet.api.login_routes import login_routes, me_routes
from edgelift_fleet.api.mark import Marked
from edgelift_fleet.api.metrics_routes import metrics_routes
from edgelift_fleet.api.name_routes import name_routes
from edgelift_fleet.api.operator_routes import operator_routes
from edgelift_fleet.api.people_routes import people_routes
from edgelift_fleet.api.polls import Polls
from edgelift_fleet.api.release_routes import release_routes
from edgelift_fleet.api.rollout_routes import rollout_routes
from edgelift_fleet.api.slashed import Slashed
from edgelift_fleet.api.telemetry_routes import telemetry_routes
from edgelift_fleet.api.trust_routes import trust_routes
from edgelift_fleet.fleet import Fleet

_DESCRIPTION = """
The control plane of an edgelift site.

**Devices** introduce themselves with the enrolment token, learn by long poll what they should run, fetch its
blobs with ranges, and send reports and telemetry. **Operators** log in, or use an access token or the site's own; each
operation says the least role that may call it (`x-least-role`): `viewer`, `operator` or `admin`.

Every answer bears the header `Edgelift: 1`.
Every refusal is JSON with `error` (what was wrong), `code` (stable, kebab-case) and `hint` (what to do); to operators
it is RFC 9457's `application/problem+json`, whose further members say the same.
"""


def make_app(fleet: Fleet, pages: Callable[[Fleet, ASGIApp], ASGIApp] | None = None) -> ASGIApp:
    """The application for an open site: what devices call in front, the operators' side behind it, and between them the
    pages that people look at, where `pages` puts any before the operators' API.
    """
    # No pages from elsewhere: the interactive documentation would load its scripts from a CDN.
    app = FastAPI(
        title="edgelift",
        version=__version__,
        description=_DESCRIPTION,
        docs_url=None,
        openapi_url=None,  # ours is made once: see `document`
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
    )
    routers = [
        device_list_routes(fleet), operator_routes(fleet), release_routes(fleet), blob_routes(fleet), code_routes(),
        bundle_routes(fleet), rollout_routes(fleet), telemetry_routes(fleet), keeping_routes(fleet), name_routes(fleet),
        trust_routes(fleet), export_routes(fleet), identity_routes(fleet),
        login_routes(fleet), me_routes(fleet), people_routes(fleet), audit_routes(fleet), alert_routes(fleet),
        metrics_routes(fleet),
    ]  # fmt: skip
    for router in routers:
        app.include_router(router)
    routes = device_routes(fleet)
    paths = device_paths(routes)
    add_error_handlers(app, methods_of(routers, paths))
    add_document(app, paths, SCHEMES)
    polls = Polls(fleet.revisions, fleet.parked, fleet.seen, fleet.wanted_bundles.of, fleet.staying, fleet.hand)
    # A site whose devices all have certificates has no token that they share.
    shared = None if fleet.secure else Bearer(fleet.site.secret("enrolment-token"), name="enrolment token")
    guard = Guard(fleet.identities.known, shared)
    operators: ASGIApp = Tagged(app)
    rest = operators if pages is None else pages(fleet, operators)
    return Headed(Marked(Slashed(DeviceSide(routes, polls, guard, rest=rest))))
