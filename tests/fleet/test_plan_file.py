"""A plan in a person's words: from a file, from options, and what is wrong with them."""

import json
import time
from datetime import datetime
from pathlib import Path

import msgspec
import pytest

from edgelift.plan_file import WORDS, make_request, parse_words, read_plan_file
from edgelift_contract.assignment import Policy
from edgelift_contract.errors import ContractError
from edgelift_contract.report import DeviceFacts
from edgelift_fleet.messages import PlanOptions, RolloutRequest
from tests.fleet.conftest import ROOT, edgelift

pytestmark = pytest.mark.fleet

PLAN = """
release = "digits@2"
to = "tag:barn and class:arm64-*"
waves = [1, "25%", "100%"]
name = "november"
soak = "10m"
deadline = "2h"
probation = 45
max_failures = "5%"
max_offline = 3
on_breach = "pause"
approval = true
retries = 2
start_at = 2026-11-28T22:00:00+01:00
windows = ["Mon-Fri 22:00-05:00", "Sat,Sun 10:00-16:00"]
timezone = "Europe/Vienna"
rate = 30
bandwidth = "2MB"
allow_older = true
gate_looks = 4
"""


def test_a_file_says_what_options_say(tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(PLAN)
    found = make_request({**read_plan_file(path), "soak": "20s"})  # options win
    assert found == RolloutRequest(
        "digits@2", "tag:barn and class:arm64-*", ["1", "25%", "100%"], name="november", soak_s=20.0, deadline_s=7200.0,
        max_failures="5%", max_offline=3, on_breach="pause", approval=True, retries=2,
        start_at=datetime.fromisoformat("2026-11-28T22:00:00+01:00").timestamp(),
        windows=["Mon-Fri 22:00-05:00", "Sat,Sun 10:00-16:00"], timezone="Europe/Vienna", rate_per_min=30.0,
        bandwidth_bytes_s=2e6, gate_looks=4, policy=Policy(probation_s=45.0, allow_older=True),
    )  # fmt: skip


def test_every_word_means_a_field_and_every_field_has_a_word() -> None:
    named = {name for name, _ in WORDS.values()}
    assert named == {
        *PlanOptions.__struct_fields__, *Policy.__struct_fields__, "release", "to", "waves", "slot", "seed",
    }  # fmt: skip


def test_every_word_and_every_fact_is_on_the_operators_page() -> None:
    page = (ROOT / "docs" / "rollouts.md").read_text()
    facts = (field.name for field in msgspec.structs.fields(DeviceFacts))
    assert [word for word in (*WORDS, *facts) if f"`{word}`" not in page] == []


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({}, "does not say 'release'"),
        ({"release": "digits@2"}, "does not say 'to'"),
        ({"soak": "soon"}, "soak: 'soon' is not a time"),
        ({"soak": True}, "is not a time"),
        ({"soak": "٣s"}, "is not a time"),
        ({"soak": float("nan")}, "is not a time"),
        ({"deadline": "9" * 30}, "too long"),
        ({"bandwidth": "fast"}, "bytes a second"),
        ({"bandwidth": "999999999GB"}, "`bandwidth` is "),
        ({"start_at": "tomorrow"}, "is not a moment"),
        ({"start_at": "9999-12-31 23:00"}, "start_at"),
        ({"waves": [[1]]}, "is not a list"),
        ({"waves": 5}, "is not a list"),
        ({"rate": float("nan")}, "`rate` is nan"),
        ({"rate": float("inf")}, "`rate` is inf, which is too large"),
        ({"gate_alpha": float("nan")}, "gate_alpha"),
        ({"concurrency": 2**64}, "concurrency"),
        ({"concurrency": -1}, "concurrency"),
        ({"max_failures": 10**30}, "max_failures"),
        ({"max_failures": [1]}, "max_failures"),
        ({"late_joiners": "maybe"}, "late_joiners"),
        ({"retries": 11}, "retries"),
        ({"gates": ["luck"]}, "gates"),
        ({"comment": "x" * 2001}, "comment"),
        ({"to": 5}, "to"),
        ({"to": "@a\0b"}, "cannot be read"),
        ({"to": "@nowhere"}, "cannot be read"),
    ],
)
def test_what_is_no_plan(words: dict[str, object], says: str) -> None:
    whole = {"release": "digits@2", "to": "all", **words} if "release" not in words and words else words
    with pytest.raises(ContractError) as refused:
        make_request(whole)
    assert says in refused.value.message and len(refused.value.message) < 400


def test_a_moment_by_this_machines_clock_and_from_now() -> None:
    at = make_request({"release": "a@1", "to": "all", "start_at": "2026-11-28 22:00"}).start_at
    assert at == datetime(2026, 11, 28, 22).timestamp()
    before = time.time()
    at = make_request({"release": "a@1", "to": "all", "start_at": "+2h"}).start_at
    assert before + 7200 <= at <= time.time() + 7200
    z = make_request({"release": "a@1", "to": "all", "start_at": "2026-11-28T22:00:00Z"}).start_at
    assert z == datetime.fromisoformat("2026-11-28T22:00:00+00:00").timestamp()


def test_words_one_by_one() -> None:
    assert parse_words(["gate_looks=3", "timezone=Europe/Vienna", 'waves=["1","100%"]', "placebo=true"]) == {
        "gate_looks": 3, "timezone": "Europe/Vienna", "waves": ["1", "100%"], "placebo": True,
    }  # fmt: skip
    for text in ("gate_looks", "colour=blue", "=3"):
        with pytest.raises(ContractError):
            parse_words([text])


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("soak =", "not valid TOML"),
        ('soaked = "1s"', "Is 'soak' meant?"),
        ("[policy]\nprobation = 3", "'policy'"),
        (b"\xff\xfe", "not valid TOML"),
        ("a = " + "[" * 5000, "not valid TOML"),
        ("seed = " + "1" * 5000, "not valid TOML"),
    ],
)
def test_files_that_are_none(tmp_path: Path, content: str | bytes, says: str) -> None:
    path = tmp_path / "plan.toml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ContractError) as refused:
        read_plan_file(path)
    assert says in str(refused.value)


def test_a_word_that_is_text_stays_text() -> None:
    found = parse_words(["name=2026", "comment=2026-11-28", "to='all'", "comment=a\nseed = 3", "gate_looks=3"])
    assert found == {"name": "2026", "comment": "a\nseed = 3", "to": "all", "gate_looks": 3}
    assert parse_words(["comment='a'\nseed = 3", "gate_looks=" + "1" * 5000]) == {
        "comment": "'a'\nseed = 3", "gate_looks": "1" * 5000,
    }  # fmt: skip


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ContractError) as refused:
        read_plan_file(tmp_path / "none.toml")
    assert refused.value.code == "not-found"


def test_over_a_running_server(server, fleet, tmp_path: Path) -> None:
    """A dry run says everything and starts nothing; the start that follows draws the same."""
    fleet.add("pi-1", "pi-2", "pi-3")
    at = ("--site", server.site)
    plan, ids = tmp_path / "plan.toml", tmp_path / "barn.txt"
    plan.write_text('waves = [1, "100%"]\nprobation = "0s"\nmin_requests = 0\n')
    ids.write_text("pi-1  # the canary\n\npi-2\n")
    words = ("rollout", "start", "digits@1", "--to", f"@{ids} or id:pi-3", "--plan", plan, *at)
    told = edgelift(*words, "--dry-run")
    assert told.returncode == 0, told.stderr
    assert "3 devices" in told.stdout and "wave 2 of 2 (100%): 2 devices" in told.stdout
    seed = told.stdout.rpartition("--seed ")[2].split()[0]
    assert json.loads(edgelift("rollout", "list", *at, "--json").stdout) == []
    as_json = json.loads(edgelift(*words, "--dry-run", "--json", "--seed", seed).stdout)
    canary = as_json["waves"][0]["first"]
    assert f"earliest: {canary[0]}\n" in told.stdout
    done = edgelift(*words, "--seed", seed, "--wait")
    assert done.returncode == 0, done.stderr
    shown = json.loads(edgelift("rollout", "show", "r1", *at, "--json").stdout)
    assert [d["device"] for d in shown["devices"] if d["wave"] == 1] == canary
    older = edgelift("rollout", "start", "digits@1", "--to", "id:pi-9", *at, "--dry-run")
    assert older.returncode == 1 and "id:pi-9 selects no device" in older.stderr
    wrong = edgelift("rollout", "start", "digits@1", "--to", "id:pi-1 und id:pi-2", *at)
    assert wrong.returncode == 1 and "character 9" in wrong.stderr and "Traceback" not in wrong.stderr


def test_every_field_that_is_not_called_as_its_word_is_on_the_apis_page() -> None:
    """Who posts `rate` is refused: the page says how the API calls it."""
    page = (ROOT / "docs" / "http-api.md").read_text()
    other = {name for word, (name, _) in WORDS.items() if name != word or name in Policy.__struct_fields__}
    assert sorted(name for name in other if f"`{name}`" not in page) == []
