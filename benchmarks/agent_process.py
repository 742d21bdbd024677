"""The agent exactly as `edgelift-agent run` starts it on a device, for a harness that names only `--config`."""

import sys
from typing import Any

#: What libraries load where it is installed: a developer's machine may have it, a device has none.
_ABSENT = ("boto3", "botocore", "google", "azure", "PyKCS11", "sigstore", "bcrypt", "brotli", "brotlicffi")


def run() -> None:
    """As on a device."""
    loaded: dict[str, Any] = sys.modules
    loaded.update(dict.fromkeys(_ABSENT))
    from edgelift_agent.cli import main  # late: without those

    main([*sys.argv[1:], "run"])


if __name__ == "__main__":
    run()
