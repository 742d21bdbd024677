"""The whole HTTP API of a site as one application."""

from __future__ import annotations

from fastapi import FastAPI

from edgelift_contract import __version__
from edgelift_fleet.api.device_routes import device_routes
from edgelift_fleet.api.errors import add_error_handlers
from edgelift_fleet.api.mark import Marked
from edgelift_fleet.api.operator_routes import operator_routes
from edgelift_fleet.api.rollout_routes import rollout_routes
from edgelift_fleet.api.schema import add_schemas
from edgelift_fleet.fleet import Fleet

_DESCRIPTION = """
The control plane of an edgelift site.

**Devices** introduce themselves with the enrolment token, learn by long poll what they should run, fetch its
blobs with ranges, and send reports and telemetry. **Operators** use the operator token.

Every answer bears the header `Edgelift: 1`.
Every refusal is JSON: `{"error": what was wrong, "code": stable and kebab-case, "hint": what to do}`.
"""


def make_app(fleet: Fleet) -> FastAPI:
    """The application for an open site."""
    # No pages from elsewhere: the interactive documentation would load its scripts from a CDN.
    app = FastAPI(title="edgelift", version=__version__, description=_DESCRIPTION, docs_url=None, redoc_url=None)
    app.include_router(device_routes(fleet))
    app.include_router(operator_routes(fleet))
    app.include_router(rollout_routes(fleet))
    add_error_handlers(app)
    add_schemas(app)
    app.add_middleware(Marked)
    return app
