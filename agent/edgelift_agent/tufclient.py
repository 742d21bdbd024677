"""`python -m edgelift_agent.tufclient`: the agent's own verification of metadata, as a plain TUF client.

For the public conformance suite, and to look by hand at a repository. The command line is that suite's (CLIENT-CLI.md of
tuf-conformance 2.4):

    --metadata-dir D init ROOT
    --metadata-dir D --metadata-url U refresh
    --metadata-dir D --metadata-url U --target-name N [--target-name N …] --target-base-url T --target-dir O download

Ends with 0 when everything held, else with 1 and a sentence that says what did not.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from edgelift_agent.system.disk import Disk
from edgelift_agent.trust.fetchers import HttpFetcher
from edgelift_agent.trust.repository import Repository
from edgelift_contract.errors import ContractError, EdgeliftError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    asked = _parser().parse_args(arguments)
    try:
        if asked.command == "init":
            Disk().write_file(asked.metadata_dir / "root.json", asked.root.read_bytes())
            return 0
        repository = Repository(
            "remote", asked.metadata_dir, HttpFetcher(), asked.metadata_url, root=None, now=time.time()
        )
        repository.refresh()
        for name in asked.target_name if asked.command == "download" else ():
            if (found := repository.target(name)) is None:
                raise ContractError("not-found", f"The repository names no target {name!r}.")
            path = repository.download(found, asked.target_dir, asked.target_base_url)
            print(path)  # noqa: T201 - this is what a command line prints
    except (EdgeliftError, OSError) as error:
        code = f" ({error.code})" if isinstance(error, EdgeliftError) else ""
        print(f"error: {error}{code}", file=sys.stderr)  # noqa: T201 - this is what a command line prints
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m edgelift_agent.tufclient", description=__doc__)
    parser.add_argument("--metadata-dir", type=Path, required=True)
    parser.add_argument("--metadata-url", default="")
    parser.add_argument("--target-name", action="append", default=[])
    parser.add_argument("--target-base-url", default="")
    parser.add_argument("--target-dir", type=Path, default=Path())
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("init", help="trust a first root").add_argument("root", type=Path)
    commands.add_parser("refresh", help="bring the metadata up to date")
    commands.add_parser("download", help="fetch and verify targets")
    return parser


if __name__ == "__main__":
    sys.exit(main())
