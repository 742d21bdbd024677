"""Where things lie on a stick that carries assignments to devices without a network: one folder for any number of them.

    edgelift/devices/<device>.signed   the device's signed metadata, as `signed.pack_signed` made it
    edgelift/blobs/<sha256>            the files that they need, shared

Names that every file system has, FAT included. A device's file is written last: where it is, its blobs are.
"""

from __future__ import annotations

from edgelift_contract.ids import check_device_id, check_sha256

TOP, DEVICES, BLOBS = "edgelift", "edgelift/devices", "edgelift/blobs"

#: How long what is carried holds, days: unless something else is said, and at most.
DEFAULT_DAYS, MAX_DAYS = 7, 30


def signed_name(device: str) -> str:
    """Of a device's signed metadata. Raises ContractError `bad-id`."""
    return f"{DEVICES}/{check_device_id(device)}.signed"


def blob_name(sha256: str) -> str:
    """Of a file that devices need. Raises ContractError `bad-id`."""
    return f"{BLOBS}/{check_sha256(sha256)}"
