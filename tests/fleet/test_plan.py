"""Plans: as they are written, kept and read again, of any age."""

import pytest

from edgelift_contract.errors import ContractError
from edgelift_fleet.rollout.plan import Plan, parse_limit, parse_waves, read_plan, to_plan

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
