"""Selectors: the language, and whom they mean, held against the plainest reading of the same tree."""

import contextlib
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from edgelift_contract.enrol import EnrolRequest
from edgelift_contract.errors import ContractError
from edgelift_contract.report import DeviceFacts
from edgelift_fleet.cohorts import Member, select_ids, select_members, unknown_ids
from edgelift_fleet.db import SITE, Database
from edgelift_fleet.devices import LastSeen, enrol
from edgelift_fleet.selector import And, Not, Or, Tree, parse_selector
from edgelift_fleet.selector_terms import All, Class, Fact, IdPattern, Ids, Runs, Tag
from edgelift_fleet.tables import DeviceRow, SlotStateRow

pytestmark = pytest.mark.fleet

GIB = 2**30
PI4 = DeviceFacts(
    "arm64-neon", ["arm64-neon"], {"onnxruntime": "1.20.1"}, 4, 2 * GIB, board="Raspberry Pi 4 Model B"
)
PI5 = DeviceFacts(
    "arm64-dotprod", ["arm64-dotprod", "arm64-neon"], {"onnxruntime": "1.9.0", "litert": "2.3"}, 4, 8 * GIB,
    board="Raspberry Pi 5", python="3.11.2", timezone="Europe/Vienna",
)  # fmt: skip
BOX = DeviceFacts("x86-64-avx2", cores=16, memory_bytes=10 * GIB)
DEVICES: dict[str, tuple[DeviceFacts, dict[str, str], str]] = {
    "pi-1": (PI4, {"barn": "", "site": "hall 1"}, "1"),
    "pi-2": (PI4, {"site": "hall 2"}, "2"),
    "pi-3": (PI5, {"barn": "north", "site": "Hall 2"}, "2"),
    "box-4": (BOX, {"site": "50%_x"}, ""),
    "box-5": (BOX, {}, "1"),
}


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    with filled(tmp_path_factory.mktemp("cohorts") / "fleet.db") as made:
        yield made


@contextlib.contextmanager
def filled(where: Path | str) -> Iterator[Database]:
    with contextlib.closing(Database(where)) as made:
        made.migrate()
        with made.write(SITE) as session:
            for device, (facts, tags, version) in DEVICES.items():
                enrol(session, EnrolRequest(schema=1, device=device, facts=facts, tags=tags))
                if version:
                    session.add(SlotStateRow(
                        device=device, slot="digits", state="serving", generation=1, artifact="a", model="digits",
                        version=version, since=0.0, last_update="",
                    ))  # fmt: skip
        yield made


MEANT = [
    ("all", "box-4 box-5 pi-1 pi-2 pi-3"),
    ("tag:barn", "pi-1 pi-3"),
    ("tag:barn=", "pi-1"),
    ("tag:barn=north", "pi-3"),
    ("tag:site=hall 2", "pi-2"),  # as before there was a language
    ('tag:site="hall 2"', "pi-2"),
    ("tag:site~hall*", "pi-1 pi-2"),
    ("tag:site~*%_x", "box-4"),
    ("not tag:site~*all*", "box-4 box-5"),
    ("class:arm64-*", "pi-1 pi-2 pi-3"),
    ("class:arm64-neon or class:x86-64-avx2", "box-4 box-5 pi-1 pi-2"),
    ("class:arm64_neon", ""),
    ("class:arm64_*", ""),
    ("fact:memory_bytes>=8GiB", "box-4 box-5 pi-3"),
    ("fact:memory_bytes>2GiB and class:arm64-*", "pi-3"),
    ("fact:cores=4", "pi-1 pi-2 pi-3"),
    ("fact:cores!=4", "box-4 box-5"),
    ('fact:board="raspberry pi 4*"', "pi-1 pi-2"),
    ('not fact:board="raspberry pi 4*"', "box-4 box-5 pi-3"),
    ("fact:runtimes.onnxruntime>=1.20", "pi-1 pi-2"),  # 1.9 is older
    ("fact:runtimes=litert", "pi-3"),
    ("fact:accepts=arm64-neon", "pi-1 pi-2 pi-3"),
    ("fact:timezone=europe/*", "pi-3"),
    ("fact:python<3.12", "pi-3"),
    ("runs:digits@2", "pi-2 pi-3"),
    ("runs:digits", "box-5 pi-1 pi-2 pi-3"),
    ("not runs:digits", "box-4"),
    ("id:pi-1", "pi-1"),
    ("id:box-*", "box-4 box-5"),
    ("ids:pi-1,pi-3,pi-99", "pi-1 pi-3"),
    ("tag:barn and not (runs:digits@2 or id:box-4)", "pi-1"),
    ("not tag:barn and runs:digits or id:pi-1", "box-5 pi-1 pi-2"),  # not, then and, then or
    ("(fact:cores=16 or tag:barn) and not id:box-5", "box-4 pi-1 pi-3"),
]


@pytest.mark.parametrize(("selector", "ids"), MEANT)
def test_whom_a_selector_means(db: Database, selector: str, ids: str) -> None:
    with db.read() as session:
        assert " ".join(select_ids(session, selector)) == ids
        assert " ".join(m.device for m in select_members(session, selector, LastSeen(), time.time())) == ids


def holds(tree: Tree, device: str) -> bool:
    """The plainest reading: one device, one term."""
    facts, tags, version = DEVICES[device]
    match tree:
        case All():
            return True
        case Not(of):
            return not holds(of, device)
        case And(parts):
            return all(holds(part, device) for part in parts)
        case Or(parts):
            return any(holds(part, device) for part in parts)
        case Tag(key, value, glob):
            if key not in tags or value is None:
                return key in tags
            return re.fullmatch(value.replace("*", ".*"), tags[key]) is not None if glob else tags[key] == value
        case Class(pattern):
            return re.fullmatch(pattern.replace("*", ".*"), facts.hardware_class) is not None
        case Ids(ids):
            return device in ids
        case IdPattern(pattern):
            return re.fullmatch(pattern.replace("*", ".*"), device) is not None
        case Runs(model, wanted):
            return model == "digits" and version != "" and wanted in ("", version)
        case Fact(name, _, _, value):
            return getattr(facts, name) >= float(value)


TERMS = (
    "all", "tag:barn", "tag:barn=north", "tag:site~hall*", "class:arm64-*", "class:x86-64-avx2", "id:pi-1", "id:box-*",
    "ids:pi-1,pi-3,box-4", f"ids:{','.join(f'x-{n}' for n in range(600))},pi-2", "runs:digits", "runs:digits@2",
    "fact:cores>=5", "fact:memory_bytes>=4e9",
)  # fmt: skip
TEXTS = st.recursive(
    st.sampled_from(TERMS),
    lambda inner: st.one_of(
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: f"({' and '.join(parts)})"),
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: f"({' or '.join(parts)})"),
        inner.map(lambda part: f"not {part}"),
    ),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(text=TEXTS)
def test_any_selector_means_what_it_says(db: Database, text: str) -> None:
    tree = parse_selector(text)
    with db.read() as session:
        assert select_ids(session, text) == sorted(device for device in DEVICES if holds(tree, device))


@pytest.mark.parametrize(
    ("selector", "says"),
    [
        ("", "its end): expected a term"),
        ("tag:a tag:b", "character 7 (before 'tag:b'): expected “and”"),
        ("(tag:a", "expected “)”"),
        ("tag:a)", "character 6 (before ')')"),
        ("tag:a and", "expected a term"),
        ("barn", "'barn' is no term"),
        ("tag:", "The tag name '' is not valid"),
        ("tag:BARN", "The tag name 'BARN' is not valid"),
        ("class:", "is no hardware class"),
        ("id:../x", "The device id"),
        ("ids:,", "names 0"),
        ("runs:@2", "neither a model nor a release"),
        ("fact:colour=red", "the facts are hardware_class"),
        ("fact:cores>=many", "'many' is no number"),
        ("fact:cores>=nan", "is no number"),
        ("fact:accepts>=3", "is a list"),
        ("fact:cores.x=3", "has no parts"),
        ('tag:a="x', 'the quote " is not closed'),
        ("(" * 40 + "all" + ")" * 40, "nested too deeply"),
        ("not " * 40 + "all", "nested too deeply"),
        (" or ".join(["all"] * 101), "more than 100 terms"),
        ("ids:" + ",".join(f"d-{n}" for n in range(20_001)), "20001"),
        ("x" * 400_001, "400001 characters"),
    ],
)
def test_what_is_no_selector_is_told_with_the_place(selector: str, says: str) -> None:
    with pytest.raises(ContractError) as refused:
        parse_selector(selector)
    assert refused.value.code == "bad-id" and says in refused.value.message
    assert len(refused.value.message) < 500


@settings(max_examples=500, deadline=None)
@given(st.text(alphabet="al tg:=~()\"'no*dr1,\0é", max_size=60))
def test_no_text_is_a_fault(text: str) -> None:
    with contextlib.suppress(ContractError):
        parse_selector(text)


def test_it_takes_the_same_statements_for_any_fleet(db: Database) -> None:
    """A tick of a rollout asks so: what it costs must not grow by statements with the devices."""
    seen: list[str] = []
    sa.event.listen(db.engine, "before_cursor_execute", lambda _c, _cur, statement, *_: seen.append(statement))
    for selector, expected in (("tag:barn and class:arm64-*", 1), ("all", 1), ("fact:cores>=4 or tag:barn", 3)):
        seen.clear()
        with db.read() as session:
            select_members(session, selector, LastSeen(), time.time())
        assert len([s for s in seen if s.startswith("SELECT")]) == expected, seen


def test_ids_that_nobody_has_are_named(db: Database) -> None:
    with db.read() as session:
        assert unknown_ids(session, "ids:pi-1,pi-9 or id:pi-8 and tag:barn") == ["pi-8", "pi-9"]


def test_a_member_tells_what_a_draw_needs(db: Database) -> None:
    with db.read() as session:
        (member,) = select_members(session, "id:pi-3", LastSeen(), time.time())
    assert member == Member("pi-3", "arm64-dotprod", "Europe/Vienna", online=True)


def test_facts_that_cannot_be_read_cost_their_device_alone(tmp_path: Path) -> None:
    with contextlib.closing(Database(tmp_path / "fleet.db")) as db:
        db.migrate()
        with db.write(SITE) as session:
            for device in ("pi-1", "pi-2"):
                enrol(session, EnrolRequest(schema=1, device=device, facts=PI4))
            session.get_one(DeviceRow, "pi-2").facts = '{"cores":'
        with db.read() as session:
            assert select_ids(session, "fact:cores=4") == ["pi-1"]
            assert select_ids(session, "not fact:cores=4") == ["pi-2"]


def test_both_engines_mean_the_same(database_url: str) -> None:
    with filled(database_url) as db, db.read() as session:
        for selector, ids in MEANT:
            assert " ".join(select_ids(session, selector)) == ids, selector
        assert unknown_ids(session, "ids:pi-1,pi-9") == ["pi-9"]
