"""The agent exactly as `edgelift-agent run` starts it on a device, for a harness that names only `--config`."""

import sys

#: What libraries load where it is installed: a developer's machine may have it, a device has none.
_ABSENT = ("boto3", "botocore", "google", "azure", "PyKCS11", "sigstore", "bcrypt", "brotli", "brotlicffi")
sys.modules.update(dict.fromkeys(_ABSENT))  # type: ignore[arg-type]

from edgelift_agent.cli import main  # noqa: E402

if __name__ == "__main__":
    main([*sys.argv[1:], "run"])
