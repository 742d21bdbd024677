"""The agent exactly as `edgelift-agent run` starts it, for a harness that names only `--config`."""

import sys

from edgelift_agent.cli import main

if __name__ == "__main__":
    main([*sys.argv[1:], "run"])
