"""The fleet as metrics: what a scraper reads is what the API says, in sets, and bounded however large the fleet."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as plain
from tests.fleet.direct import AT_ONCE
from tests.fleet.in_process import Api, api_of
from tests.promtool import complaints

from edgelift_contract.telemetry import DeviceEvent
from edgelift_fleet.happened import ENDED, REFUSED, known_code
from edgelift_fleet.metrics.exposition import FleetMetrics
from edgelift_fleet.metrics.ranking import worst
from edgelift_fleet.metrics.readings import DeviceReading
from edgelift_fleet.tables import TelemetryNewestRow
from edgelift_fleet.telemetry.gauges import pack_values

pytestmark = pytest.mark.fleet
