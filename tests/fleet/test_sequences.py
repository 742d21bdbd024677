"""Sequences of calls, drawn and shrunk by hypothesis; `--hypothesis-profile=long` plays thousands, others each time."""

from pathlib import Path

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.fleet.conftest import make_site
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


def test_any_sequence_of_calls(template: Path, releases: dict[str, Path]) -> None:
    kind = type("OnSqlite", (Sequences,), {"template": template, "releases": releases})
    asked = settings.get_current_profile_name()
    run_state_machine_as_test(kind, settings=QUICK if asked == "edgelift" else settings.get_profile(asked))
