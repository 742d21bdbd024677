"""The words that host and device both speak. Standard library and msgspec only; readable in an hour.

The way of a model through these modules:

1. The builder describes each variant in a `manifest` whose canonical bytes (`codec`) hash to the artifact's
   id, adds `golden` inputs and outputs, and lists the artifacts in a `release`.
2. The control plane picks one per device (`rules.choose`) and states it in an `assignment`.
3. The device checks that it may (`rules.admit`), installs, and answers with a `report`: what serves in each
   slot and how the last update ended.
4. Its latencies travel as mergeable `histogram`s in the windows of `telemetry`.

`routes` spells every topic and path, `ids` every name's form, `hardware` the classes of processors, `errors`
the three roots and the stable codes. Nothing here opens a file or a socket, with one named exception:
`hardware.this_machine` reads `/proc`.
"""

from edgelift_contract.errors import ContractError, DeviceError, EdgeliftError, TransportError

__all__ = ["ContractError", "DeviceError", "EdgeliftError", "TransportError", "__version__"]

__version__ = "0.1.0"
