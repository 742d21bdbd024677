"""Bundles at a `ToyHost`: wanted of devices, and what they brought."""

from __future__ import annotations

from dataclasses import dataclass, field

from edgelift_contract.bundle import BundleReply, is_bundle_id, unpack
from edgelift_contract.errors import ContractError


@dataclass
class ToyBundles:
    """Those of all devices.

    Attributes:
        wanted: device → the bundle that is wanted of it.
        brought: bundle → its files.
    """

    wanted: dict[str, str] = field(default_factory=dict)
    brought: dict[str, dict[str, bytes]] = field(default_factory=dict)

    def take(self, device: str, bundle: str, data: bytes) -> BundleReply:
        """Keep what a device brought; raises as the control plane refuses it."""
        if not is_bundle_id(bundle):
            raise ContractError("malformed", "It is not said which bundle this is.")
        if self.wanted.get(device) != bundle and bundle not in self.brought:
            raise ContractError("not-found", "Nobody asked for this bundle.")
        self.brought[bundle] = unpack(data, device=device, bundle=bundle)
        self.wanted.pop(device, None)
        return BundleReply(schema=1, device=device, bundle=bundle, size_bytes=len(data))
