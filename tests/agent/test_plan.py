"""What an assignment means for a slot, as a table of cases."""

import pytest

from edgelift_agent.update.machine import BEFORE_SWAP
from edgelift_agent.update.plan import Adopt, Amend, Empty, Keep, Start, Supersede, Wait, plan_slot
from edgelift_agent.update.records import SlotRow, UpdateRow
from edgelift_contract.assignment import Policy, SlotAssignment

A = SlotAssignment("a" * 64, 100, "digits", "1")
B = SlotAssignment("b" * 64, 100, "digits", "2")
BETTER_B = SlotAssignment("b" * 64, 101, "digits", "2")
ASKED_B = SlotAssignment("b" * 64, 100, "digits", "2", asked=2)
AGAIN_A = SlotAssignment("a" * 64, 100, "digits", "1", placebo="r7.1", asked=2)
ONCE_MORE_A = SlotAssignment("a" * 64, 100, "digits", "1", placebo="r7.2", asked=3)
SERVES_A = SlotRow(artifact=A.artifact, model="digits", version="1")


def update(desired: SlotAssignment, state: str = "idle", **fields: object) -> UpdateRow:
    return UpdateRow(desired, 1, state=state, attempts=1, **fields)


@pytest.mark.parametrize(
    ("desired", "slot", "last", "expected"),
    [
        (A, SlotRow(), None, Start()),
        (B, SERVES_A, update(A, outcome="committed"), Start()),
        (A, SERVES_A, update(A, outcome="committed"), Keep("serving")),
        (A, SERVES_A, update(B, outcome="refused", code="golden-mismatch"), Adopt()),
        (B, SERVES_A, update(B, outcome="refused", code="golden-mismatch"), Keep("failed")),
        (B, SERVES_A, update(B, outcome="refused", code="disk-full"), Start()),
        (B, SERVES_A, update(B, outcome="rolled-back", code="crashed-in-service"), Keep("failed")),
        (B, SERVES_A, update(B, outcome="superseded", code="superseded"), Start()),
        (AGAIN_A, SERVES_A, update(A, outcome="committed"), Start()),
        (AGAIN_A, SERVES_A, None, Start()),
        (AGAIN_A, SERVES_A, update(AGAIN_A, outcome="committed"), Keep("serving")),
        (AGAIN_A, SERVES_A, update(AGAIN_A, outcome="rolled-back", code="interrupted"), Keep("failed")),
        (AGAIN_A, SERVES_A, update(AGAIN_A, "observing"), Keep("under way")),
        (ONCE_MORE_A, SERVES_A, update(AGAIN_A, outcome="committed"), Start()),
        (A, SERVES_A, update(AGAIN_A, outcome="committed"), Adopt()),
        (B, SERVES_A, update(AGAIN_A, outcome="committed"), Start()),
        (B, SERVES_A, update(B, "fetching"), Keep("under way")),
        *((BETTER_B, SERVES_A, update(B, state), Amend()) for state in BEFORE_SWAP),
        (ASKED_B, SERVES_A, update(B, "preflight"), Keep("under way")),
        (BETTER_B, SERVES_A, update(B, "swapping"), Keep("under way")),
        (BETTER_B, SERVES_A, update(B, "observing"), Keep("under way")),
        (BETTER_B, SERVES_A, update(B, outcome="refused", code="malformed"), Start()),
        (A, SERVES_A, update(B, "fetching"), Supersede()),
        (A, SERVES_A, update(B, "observing"), Supersede()),
        (A, SERVES_A, update(B, "swapping"), Wait()),
        (A, SERVES_A, update(B, "rolling-back"), Wait()),
        (None, SERVES_A, update(A, outcome="committed"), Empty()),
        (None, SERVES_A, update(B, "fetching"), Supersede()),
        (None, SlotRow(), None, Keep("empty")),
        (B, SlotRow(artifact=A.artifact, pinned=True), None, Keep("pinned")),
        (None, SlotRow(artifact=A.artifact, pinned=True), None, Keep("pinned")),
    ],
)
def test_plan(desired: SlotAssignment | None, slot: SlotRow, last: UpdateRow | None, expected: object) -> None:
    assert plan_slot(desired, slot, last) == expected


def test_what_was_refused_unsigned_is_begun_again_once_it_is_signed() -> None:
    last = update(B, outcome="refused", code="not-signed")
    assert plan_slot(B, SERVES_A, last, signed=False) == Keep("failed")
    assert plan_slot(B, SERVES_A, last, signed=True) == Start()
    last.code = "not-agreed"
    assert plan_slot(B, SERVES_A, last, signed=True) == Keep("failed")


def test_a_passing_failure_is_tried_as_often_as_the_policy_allows() -> None:
    desired = SlotAssignment("b" * 64, 100, "digits", "2", Policy(max_attempts=2))
    last = UpdateRow(desired, 1, attempts=2, outcome="rolled-back", code="interrupted")
    assert plan_slot(desired, SERVES_A, last) == Keep("failed")
    last.attempts = 1
    assert plan_slot(desired, SERVES_A, last) == Start()
