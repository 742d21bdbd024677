"""The agent exactly as `edgelift-agent run` starts it on a device, for a harness that names only `--config`."""

import sys

#: securesystemslib loads what signs in clouds where that is installed: a developer's machine may have it, a device has none.
sys.modules.update(dict.fromkeys(["boto3", "botocore", "google", "azure", "PyKCS11", "sigstore"]))  # type: ignore[arg-type]

from edgelift_agent.cli import main  # noqa: E402

if __name__ == "__main__":
    main([*sys.argv[1:], "run"])
