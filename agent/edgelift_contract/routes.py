"""The only place where MQTT topics and URL paths are spelled.

    edgelift/v1/<device>/down/desired      retained, QoS 1   assignment
    edgelift/v1/<device>/down/bundle       QoS 1             a bundle is wanted
    edgelift/v1/<device>/up/reported       retained, QoS 1   report
    edgelift/v1/<device>/up/state          retained, QoS 1   presence: birth and will
    edgelift/v1/<device>/up/telemetry      QoS 1             batch

At most seven slashes, so that every broker takes them. Everything a device may write is below `up/`,
everything it may read below `down/`: two ACL patterns are enough.
"""

from __future__ import annotations

from edgelift_contract.ids import check_device_id, check_sha256

ROOT = "edgelift/v1"

ENROL = "/v1/enroll"


def desired_topic(device: str) -> str:
    """Where the device's assignment is retained."""
    return f"{ROOT}/{check_device_id(device)}/down/desired"


def bundle_topic(device: str) -> str:
    """Where the device is told that a bundle of it is wanted."""
    return f"{ROOT}/{check_device_id(device)}/down/bundle"


def reported_topic(device: str) -> str:
    """Where the device's report is retained."""
    return f"{ROOT}/{check_device_id(device)}/up/reported"


def state_topic(device: str) -> str:
    """Where the device's birth and will are retained."""
    return f"{ROOT}/{check_device_id(device)}/up/state"


def telemetry_topic(device: str) -> str:
    """Where the device publishes batches."""
    return f"{ROOT}/{check_device_id(device)}/up/telemetry"


def uplink_filters() -> tuple[str, ...]:
    """What the control plane subscribes to."""
    return (*state_filters(), telemetry_filter())


def state_filters() -> tuple[str, ...]:
    """Of these, what devices retain."""
    return (f"{ROOT}/+/up/reported", f"{ROOT}/+/up/state")


def telemetry_filter() -> str:
    """And what they send once each."""
    return f"{ROOT}/+/up/telemetry"


def split_topic(topic: str) -> tuple[str, str] | None:
    """`(device, rest)` of one of our topics, as `("pi-1", "up/reported")`; None for a foreign topic."""
    parts = topic.split("/")
    if len(parts) < 5 or "/".join(parts[:2]) != ROOT:
        return None
    return parts[2], "/".join(parts[3:])


def desired_path(device: str) -> str:
    """GET: assignment, with ETag and long poll (`?wait_s=`)."""
    return f"/v1/devices/{check_device_id(device)}/desired"


def report_path(device: str) -> str:
    """PUT: report."""
    return f"/v1/devices/{check_device_id(device)}/report"


def telemetry_path(device: str) -> str:
    """POST: batch."""
    return f"/v1/devices/{check_device_id(device)}/telemetry"


def bundle_path(device: str) -> str:
    """PUT: a bundle that was asked for."""
    return f"/v1/devices/{check_device_id(device)}/bundle"


def blob_path(sha256: str) -> str:
    """GET: a blob, immutable, with Range."""
    return f"/v1/blobs/{check_sha256(sha256)}"
