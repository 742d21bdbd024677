"""The three ways on which a repository's files come to a device: HTTP, one bundle, a folder."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.simulators.file_server import FileServer
from tests.simulators.signer import Repo
from tuf.ngclient.fetcher import FetcherInterface

from edgelift_agent.trust.fetchers import LOCAL, BundleFetcher, FolderFetcher, HttpFetcher
from edgelift_agent.trust.repository import Repository

NOW = 1_800_000_000.0
#: Of the target that is looked for.
PATH = "a/arm64-neon/onnxruntime/digits/" + "0" * 64


class Way:
    """How a repository's files come to a device."""

    def __init__(self, kind: str, server: FileServer, tmp_path: Path) -> None:
        self.kind, self.server, self.stick = kind, server, tmp_path / "stick"
        self.trusted = tmp_path / "trusted"
        self.trusted.mkdir()

    def fetcher(self, repo: Repo) -> tuple[FetcherInterface, str]:
        files = {f"image/{name}": data for name, data in repo.files.items()}
        if self.kind == "http":
            self.server.files = {f"/{name}": data for name, data in files.items()}
            return HttpFetcher(), f"{self.server.url}/image"
        if self.kind == "bundle":
            return BundleFetcher(files), f"{LOCAL}image"
        shutil.rmtree(self.stick, ignore_errors=True)
        (self.stick / "image").mkdir(parents=True)
        for name, data in files.items():
            (self.stick / name).write_bytes(data)
        return FolderFetcher(self.stick), f"{LOCAL}image"

    def begin(self, repo: Repo) -> None:
        """Trust its first root, and what it says now."""
        (self.trusted / "root.json").write_bytes(repo.files["1.root.json"])
        self.look(repo)

    def look(self, repo: Repo, now: float = NOW) -> Repository:
        """One refresh, and a look for the target; what is trusted is kept only if all of it held."""
        stage = self.trusted.with_name("stage")
        shutil.rmtree(stage, ignore_errors=True)
        shutil.copytree(self.trusted, stage, symlinks=True)
        fetcher, base = self.fetcher(repo)
        made = Repository("image", stage, fetcher, base, root=None, now=now)
        made.refresh()
        made.target(PATH)
        shutil.rmtree(self.trusted)
        stage.rename(self.trusted)
        return made
