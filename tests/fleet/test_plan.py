"""Plans: as they are written, kept and read again, of any age."""

import json
from dataclasses import fields

import pytest

from edgelift_contract.errors import ContractError
from edgelift_fleet.rollout.plan import Plan, StoredPlan, parse_limit, parse_waves, read_plan, to_plan
from edgelift_fleet.rollout.windows import parse_window

pytestmark = pytest.mark.fleet

#: As a row of release 0.1 keeps it.
OLD_ROW = '{"deadline_s":3600.0,"max_failures":2,"soak_s":60.0,"waves":["1","25%","100%"]}'


def test_a_plan_from_before_there_were_options_means_what_it_meant() -> None:
    plan = to_plan(read_plan(OLD_ROW))
    assert plan == Plan(parse_waves(["1", "25%", "100%"]), 60.0, 2, 3600.0)
    assert (plan.failures_allowed(10**6), plan.offline_allowed(5), plan.seed) == (2, None, None)


def test_a_plan_from_a_later_release_is_read_as_far_as_it_is_known() -> None:
    assert to_plan(read_plan('{"waves":["100%"],"colour":"blue"}')) == Plan(parse_waves(["100%"]))


@pytest.mark.parametrize(("text", "cohort", "allowed"), [(3, 10, 3), ("3", 10, 3), ("5%", 100, 5), ("5%", 19, 0)])
def test_failures_as_a_count_or_a_share(text: int | str, cohort: int, allowed: int) -> None:
    count, share = parse_limit(text, "max_failures")
    assert Plan((), max_failures=count, max_failures_share=share).failures_allowed(cohort) == allowed
    assert Plan((), max_offline=count, max_offline_share=share).offline_allowed(cohort) == allowed


@pytest.mark.parametrize("text", ["", "x", "-1", "101%", "1e9%", "nan%", "1.5", "9" * 16, "٣"])
def test_limits_that_are_none(text: str) -> None:
    with pytest.raises(ContractError) as refused:
        parse_limit(text, "max_failures")
    assert refused.value.code == "malformed" and "max_failures" in refused.value.message


def test_everything_that_is_written_reaches_the_plan() -> None:
    """A field that is asked for and then forgotten would be worse than one that is refused."""
    written = {
        "waves": ["50%", "100%"], "soak_s": 1.0, "max_failures": "5%", "max_offline": 2, "deadline_s": 7.0,
        "on_breach": "pause", "keep_earlier": True, "approval": True, "retries": 3, "retry_after_s": 5.0,
        "start_at": 9.0, "concurrency": 4, "rate_per_min": 6.0, "bandwidth_bytes_s": 8.0, "late_joiners": "out",
        "windows": ["02:00-04:00"], "timezone": "Europe/Vienna", "gates": ["errors"], "gate_alpha": 0.05,
        "gate_slower": 0.1, "gate_more_errors": 0.2, "gate_looks": 3, "gate_min_requests": 11, "gate_before_s": 12.0,
        "gate_wait_s": 14.0, "gate_unmeasured": "advance",
        "placebo": True, "seed": 13,
    }  # fmt: skip
    assert set(written) == set(StoredPlan.__struct_fields__) - {"name", "comment"}
    plan = to_plan(read_plan(json.dumps(written)))
    assert (plan.max_failures, plan.max_failures_share, plan.max_offline, plan.max_offline_share) == (
        0,
        0.05,
        2,
        0.0,
    )
    assert plan.windows == (parse_window("02:00-04:00"),) and plan.gates == ("errors",)
    unlike = {
        "waves",
        "max_failures",
        "max_failures_share",
        "max_offline",
        "max_offline_share",
        "update_s",
        "windows",
        "gates",
    }
    assert {field.name for field in fields(Plan)} - unlike <= set(written)
    assert all(
        getattr(plan, field.name) == written[field.name] for field in fields(Plan) if field.name not in unlike
    )


def test_a_zone_that_nobody_knows_is_refused() -> None:
    with pytest.raises(ContractError) as refused:
        to_plan(read_plan('{"waves":["100%"],"timezone":"Mars/Base"}'))
    assert refused.value.code == "malformed" and "Mars/Base" in refused.value.message
