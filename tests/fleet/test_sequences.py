"""Sequences of calls, drawn and shrunk by hypothesis; others each time by `--hypothesis-profile=long --timeout=0`."""

import itertools
import shutil
from pathlib import Path

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from edgelift_fleet.site import Site, load_site
from tests.fleet.conftest import make_site
from tests.fleet.postgres import Postgres
from tests.fleet.sequences import Sequences

pytestmark = pytest.mark.fleet

#: In CI some 30 s, the same each time; as a profile says, where one is asked for that is no default.
QUICK = settings(
    max_examples=25, stateful_step_count=40, deadline=None, report_multiple_bugs=False,
    phases=[Phase.reuse, Phase.generate, Phase.shrink],
)  # fmt: skip


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory, releases: dict[str, Path]) -> Path:
    return make_site(tmp_path_factory.mktemp("template") / "site", releases)


class OnPostgres(Sequences):
    """Each sequence has a database of its own, made from that of the template."""

    cluster: Postgres
    numbers = itertools.count()

    def new_site(self, folder: Path) -> Site:
        shutil.copytree(self.template, folder / "site")
        name, file = f"sequence{next(self.numbers)}", folder / "site" / "site.toml"
        file.write_text(file.read_text().replace("/sequences", f"/{name}"))
        self.cluster.clone(name, "sequences")
        return load_site(folder / "site")


def test_any_sequence_of_calls(template: Path, releases: dict[str, Path]) -> None:
    kind = type("OnSqlite", (Sequences,), {"template": template, "releases": releases})
    asked = settings.get_current_profile_name()
    run_state_machine_as_test(kind, settings=QUICK if asked == "edgelift" else settings.get_profile(asked))


@pytest.mark.slow
def test_any_sequence_of_calls_on_postgresql(
    tmp_path: Path, own_postgres: Postgres, releases: dict[str, Path]
) -> None:
    template = make_site(tmp_path / "site", releases, own_postgres.database("sequences"))
    kind = type("Few", (OnPostgres,), {"template": template, "releases": releases, "cluster": own_postgres})
    run_state_machine_as_test(kind, settings=settings(QUICK, max_examples=4, stateful_step_count=30))
