"""Of what people are told, and when; in which words."""

from __future__ import annotations

import pytest

from edgelift_fleet.alert_settings import AlertSettings
from edgelift_fleet.alerts.decide import Key, StandingTrouble
from edgelift_fleet.alerts.tell import AlertGroup, AlertTelling, tell
from edgelift_fleet.alerts.texts import body_of, title_of
from edgelift_fleet.alerts.words import message_of, moment

pytestmark = pytest.mark.fleet

NOW = 1_795_000_000.0
RULES = AlertSettings()


def fired(subject: str, at: float = 0.0, code: str = "offline", text: str = "") -> StandingTrouble:
    return StandingTrouble(code, subject, "firing", NOW + at - 900, NOW + at, NOW + at, text)


class People:
    """Who hear what is told, look after look."""

    def __init__(self) -> None:
        self.groups: dict[Key, AlertGroup] = {}
        self.standing: list[StandingTrouble] = []
        self.heard: list[AlertTelling] = []

    def look(self, at: float, *standing: StandingTrouble, silenced: tuple[Key, ...] = ()) -> list[str]:
        keys = {one.key for one in standing}
        gone = [one for one in self.standing if one.key not in keys]
        self.groups, tellings = tell(self.groups, standing, silenced, RULES, NOW + at, gone=gone)
        self.standing, self.heard = list(standing), tellings
        return [f"{one.event} {len(one.members)}" for one in tellings]

    def message(self) -> str:
        (telling,) = self.heard
        return message_of(telling, id="alert-1", site="farm", link="https://f", now=NOW).what


def test_many_boards_are_one_message_and_one_end() -> None:
    people, boards = People(), [fired(f"pi-{n}") for n in range(5000)]
    assert people.look(0, *boards[:200]) == people.look(45, *boards[:4000]) == []
    assert people.look(60, *boards) == ["begun 5000"]
    assert people.message() == "5,000 boards are offline."
    assert people.look(75, *boards) == people.look(700, *boards) == people.look(800, *boards[:1]) == []
    assert people.look(900) == ["ended 1"]
    assert people.message() == "No board is offline any more."
    assert people.look(915) == []


def test_more_boards_are_told_of_now_and_then() -> None:
    people = People()
    people.look(0, fired("a"))
    assert people.look(60, fired("a")) == ["begun 1"]
    assert people.message() == "a is offline."
    more = [fired("a"), fired("b", 100), fired("c", 300)]
    assert people.look(300, *more) == []
    assert people.look(660, *more) == ["grew 3"]
    assert people.look(2000, *more) == []  # nobody is new


def test_one_that_comes_for_another_is_told_of() -> None:
    people = People()
    people.look(0, fired("a"))
    people.look(60, fired("a"))
    assert people.look(700, fired("b", 650)) == ["grew 1"]


def test_what_lasts_is_told_each_day_and_what_was_gone_before_it_was_told_is_not() -> None:
    people = People()
    assert people.look(0, fired("a")) == people.look(30) == []
    people.look(40, fired("a", 40))
    assert people.look(100, fired("a", 40)) == ["begun 1"]
    assert people.look(86_499, fired("a", 40)) == []
    assert people.look(86_500, fired("a", 40)) == ["lasts 1"]
    assert people.look(86_600) == ["ended 1"]
    assert people.message() == "a is heard again."


def test_what_is_silenced_is_not_told_and_begins_when_the_silence_ends() -> None:
    people, hushed = People(), (("offline", "a"),)
    assert people.look(0, fired("a"), silenced=hushed) == people.look(90, fired("a"), silenced=hushed) == []
    assert people.look(100, fired("a"), fired("b", 100), silenced=hushed) == []
    assert people.look(160, fired("a"), fired("b", 100), silenced=hushed) == ["begun 1"]
    assert people.look(200, fired("a"), silenced=hushed) == []  # a still has it: it is not over
    people.look(300, fired("a"))
    assert people.look(360, fired("a")) == ["begun 1"]
    assert people.look(400, fired("a"), silenced=hushed) == people.look(500) == []  # whoever silenced it knows


def test_a_rollout_is_told_of_at_once_and_alone() -> None:
    people = People()
    both = [fired("r1", code="needs-approval"), fired("r2", code="needs-approval")]
    assert people.look(0, *both) == ["begun 1", "begun 1"]
    assert people.look(10, both[1]) == ["ended 1"]
    assert people.message() == "The rollout r1 no longer waits for approval."
    assert people.look(20, fired("r3", code="rolled-back")) != []
    assert people.look(30) == []  # that it is history by now is nothing to tell


def test_a_clock_that_goes_back_makes_nobody_wait_for_ever() -> None:
    people = People()
    people.look(0, fired("a"))
    assert people.look(-100_000, fired("a")) == []
    assert people.look(-99_940, fired("a")) == ["begun 1"]


def test_the_words_say_what_where_since_when_and_what_to_do() -> None:
    members = [fired(f"pi-{n}", text="81 °C" if n else "", code="hot") for n in range(12)]
    telling = AlertTelling("begun", AlertGroup("hot", "", NOW, NOW, 12), members)
    message = message_of(telling, id="alert-1", site="farm", link="https://f", now=NOW)
    assert title_of(message) == "[farm] 12 boards are hot."
    text = body_of(message)
    for line in (
        "Where: pi-0, pi-1, pi-2, pi-3, pi-4, pi-5, pi-6, pi-7, pi-8, pi-9 and 2 more", f"Since: {moment(NOW - 900)}",
        "What to do: Look at its fan", f"pi-1 since {moment(NOW - 900)}: 81 °C", "… and 2 more",
        "warning: hot, site farm",
        "edgelift alert silence hot --for 2h", "https://f/",
    ):  # fmt: skip
        assert line in text
    assert message.link == "https://f/" and (message.count, len(message.subjects)) == (12, 10)


def test_a_text_from_elsewhere_begins_no_line_and_no_header() -> None:
    standing = fired("r7", code="gate-breach", text="digits@2: slow\r\nBcc: all@example\x1b[31m")
    telling = AlertTelling("begun", AlertGroup("gate-breach", "r7", NOW, NOW, 1), [standing])
    message = message_of(telling, id="alert-1", site="farm\nBcc: x", link="", now=NOW)
    assert "\n" not in title_of(message) and "\r" not in title_of(message) and "\x1b" not in body_of(message)
    assert not any(line.startswith("Bcc") for line in body_of(message).splitlines())
    assert "edgelift rollout resume | rollback r7" in message.todo
