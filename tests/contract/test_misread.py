"""What could not be read, in words: where, what was given, in which bounds, what to do."""

from typing import Annotated, Any, Literal

import msgspec
import pytest
from msgspec import Meta, Struct

from edgelift_contract import codec
from edgelift_contract.errors import ContractError
from edgelift_contract.report import Report


class Inner(Struct, forbid_unknown_fields=True):
    whole: Annotated[int, Meta(ge=0, le=10_000)] = 0
    time_s: Annotated[float, Meta(gt=0, le=3.1536e10)] = 1.0
    text: Annotated[str, Meta(min_length=1, max_length=3)] = "a"
    name: Annotated[str, Meta(pattern=r"^[a-z]+\Z")] = "a"
    few: Annotated[list[int], Meta(max_length=2)] = []
    numbers: Annotated[dict[Annotated[str, Meta(max_length=2)], int], Meta(max_length=3)] = {}
    word: Literal["a", "b"] = "a"
    maybe: Annotated[int, Meta(ge=3)] | None = None
    either: int | str = 0
    pair: tuple[int, str] = (0, "")
    flag: bool = False


class Outer(Struct):
    needed: Annotated[int, Meta(ge=1)]
    inner: Inner = msgspec.field(default_factory=Inner)
    several: list[Inner] = []
    by_name: dict[str, Inner] = {}


#: What is given → what is said of it, and what to do.
SAID: list[tuple[str, str, str]] = [
    ('{"inner": {"whole": 10001}}', "`inner.whole` is 10,001, which is too large", "Give a whole number from 0 to 10,000."),
    ('{"inner": {"whole": -1}}', "`inner.whole` is -1, which is too small", "Give a whole number from 0 to 10,000."),
    ('{"inner": {"whole": 1.5}}', "`inner.whole` is 1.5, not a whole number", "Give a whole number from 0 to 10,000."),
    ('{"inner": {"time_s": 1e99}}', "`inner.time_s` is 1e+99, which is too large",
     "Give a number above 0 and at most 31,536,000,000."),
    ('{"inner": {"time_s": 0}}', "`inner.time_s` is 0, which is too small",
     "Give a number above 0 and at most 31,536,000,000."),
    ('{"inner": {"text": "abcd"}}', "`inner.text` has too many characters: 4", "Give text of 1 to 3 characters."),
    ('{"inner": {"text": ""}}', "`inner.text` has too few characters: 0", "Give text of 1 to 3 characters."),
    ('{"inner": {"text": 5}}', "`inner.text` is 5, not text", "Give text of 1 to 3 characters."),
    ('{"several": [{}, {"name": "\\u202eA"}]}', "`several[1].name` is '\\u202eA', which has not the form that it must have",
     "Write it as '^[a-z]+$'."),
    ('{"inner": {"few": [1, 2, 3]}}', "`inner.few` has too many items: 3", "Give a list of at most 2 items."),
    ('{"by_name": {"x": {"numbers": {"abc": 1}}}}', "a key of `by_name[…].numbers` has too many characters",
     "Give text of at most 2 characters."),
    ('{"by_name": {"x": {"whole": 20000}}}', "`by_name[…].whole` is too large", "Give a whole number from 0 to 10,000."),
    ('{"inner": {"numbers": {"a": 1, "b": 1, "c": 1, "d": 1}}}', "`inner.numbers` has too many entries: 4",
     "Give an object of at most 3 entries."),
    ('{"inner": {"word": "c"}}', "`inner.word` is 'c', which is none of its words", "Write one of a, b."),
    ('{"inner": {"maybe": 2}}', "`inner.maybe` is 2, which is too small", "Give a whole number at least 3."),
    ('{"inner": {"either": []}}', "`inner.either` is a list, not a whole number or text", "Give a whole number or text."),
    ('{"inner": {"pair": [1]}}', "`inner.pair` has 1, not 2 items", "Give a list of 2 items."),
    ('{"inner": {"flag": 1}}', "`inner.flag` is 1, not true or false", "Give true or false."),
    ('{"inner": {"wort": "a"}}', "there is no field 'wort' inside `inner`", "It may have either, few, flag, maybe,"),
    ('{"inner": {"time_s": 1e999}}', "`inner.time_s` is a number beyond all bounds",
     "Give a number above 0 and at most 31,536,000,000."),
    ('{"inner": "x"}', "`inner` is 'x', not an object", "Give an object."),
]  # fmt: skip
WHOLE: list[tuple[bytes, str, str]] = [
    (b"{}", "the field `needed` is missing", "Give a whole number at least 1."),
    (b"[]", "it is a list, not an object", "Give an object."),
    (b'{"needed": ', "it ends too early", ""),
    (b'{"needed": 1,}', "it is not JSON: trailing comma in object (byte 13)", ""),
    (b'{"needed": 1, "inner": {"name": "\xff"}}', "it is not UTF-8 text", ""),
]  # fmt: skip


def refusal(data: bytes, kind: Any = Outer) -> ContractError:
    with pytest.raises(ContractError) as caught:
        codec.decode_json(data, kind, what="request")
    assert caught.value.code == "malformed"
    return caught.value


@pytest.mark.parametrize(("text", "wrong", "hint"), SAID)
def test_a_field_that_is_wrong_is_told_with_its_bounds(text: str, wrong: str, hint: str) -> None:
    error = refusal(text.replace("{", '{"needed": 1, ', 1).encode())
    assert error.message == f"The request is not valid: {wrong}." and error.hint.startswith(hint)


@pytest.mark.parametrize(("data", "wrong", "hint"), WHOLE)
def test_what_is_no_message_at_all(data: bytes, wrong: str, hint: str) -> None:
    error = refusal(data)
    assert error.message.startswith(f"The request is not valid: {wrong}") and error.hint == hint


def test_nothing_at_all_is_called_so() -> None:
    assert refusal(b"").message == refusal(b" \n").message == "The request is empty."


def test_plain_objects_and_message_pack_are_told_alike() -> None:
    for read in (
        lambda: codec.convert({"needed": 0}, Outer, what="plan"),
        lambda: codec.decode_msgpack(msgspec.msgpack.encode({"needed": 0}), Outer, what="plan"),
    ):
        with pytest.raises(ContractError, match=r"^The plan is not valid: `needed` is 0, which is too small"):
            read()


def test_a_value_that_is_shown_is_short() -> None:
    error = refusal(b'{"needed": "' + b"x" * 100_000 + b'"}')
    assert len(error.message) < 200
    assert len(refusal(b'{"needed": 1, "inner": {"' + b"y" * 100_000 + b'": 1}}').message) < 200
    assert len(refusal(b'{"needed": -1' + b"0" * 400 + b"}").message) < 200


def test_every_bound_of_a_real_message_has_its_sentence() -> None:
    """No sentence of msgspec's own comes through, whatever field of a report is wrong in whatever way."""
    good = codec.canonical_json(Report(schema=1, device="pi-1", epoch="e", sequence=1, at=1.0, agent_version="1"))
    odd = (-1, 2**70, 1.5, "", "x" * 5000, [], {}, None, True, [1] * 3000, {"k" * 3000: 1})
    asked = 0
    for field in msgspec.json.decode(good):
        for value in odd:
            changed = (
                msgspec.json.encode({**msgspec.json.decode(good), field: value}) if field != "schema" else good
            )
            try:
                codec.decode_json(changed, Report, what="report")
            except ContractError as error:
                asked += 1
                assert "Expected `" not in error.message and "Invalid enum" not in error.message, error.message
    assert asked > 40
