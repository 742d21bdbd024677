"""What hostile bytes are made of: valid messages, spoilt byte by byte and word by word, always in the same way.

A spoilt message begins as one that our own code made, so that it comes far into a parser before it is odd. Which changes
befall it is drawn by hypothesis, derandomised: a run is as the one before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hypothesis import strategies as st

#: One change: bytes, and numbers from 0 to 1 and 0 to 255 that choose where and what.
_Change = Callable[[bytes, float, int], bytes]

#: What reads as a number, a word or a structure somewhere, and is at an edge there.
ODD = (
    b"-1", b"0", b"1e308", b"1e999", b"-0", b"9" * 20, b"9" * 400, b"18446744073709551616", b"9223372036854775808",
    b"-9223372036854775809", b"0.1e-400", b"NaN", b"Infinity", b"null", b"true", b'""', b"[]", b"{}", b'"\\ud800"',
    b'"\xff\xfe"', b'"\\u0000"', b"\x00", b"\xff" * 8, b"\xc1", b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff",
    b"\xc6\xff\xff\xff\xff", b'"../../etc/passwd"', b'"/"', "\"\u202e\u0430\"".encode(), b'{"a":{"a":{"a":', b"[[[[[[[[",
    b"\n", b"\r\n", b"=", b"'''", b"1979-05-27T07:32:00Z", b"99999-99-99", b"-----BEGIN CERTIFICATE-----\n",
)  # fmt: skip
#: Deeper than any message is, and than Python's own limit of frames.
DEPTHS = (50, 990, 5000, 30_000)


def _flip(data: bytes, where: float, what: int) -> bytes:
    at = int(where * len(data))
    return data[:at] + bytes([data[at] ^ (what or 1)]) + data[at + 1 :] if at < len(data) else data


def _cut(data: bytes, where: float, _what: int) -> bytes:
    return data[: int(where * len(data))]


def _drop(data: bytes, where: float, what: int) -> bytes:
    at = int(where * len(data))
    return data[:at] + data[at + what + 1 :]


def _double(data: bytes, where: float, what: int) -> bytes:
    at = int(where * len(data))
    return data[: at + what + 1] + data[at:]


def _insert(data: bytes, where: float, what: int) -> bytes:
    at = int(where * len(data))
    return data[:at] + ODD[what % len(ODD)] + data[at:]


def _number(data: bytes, where: float, what: int) -> bytes:
    """A word of a text becomes another: the next number, name or structure after `where`."""
    at = int(where * len(data))
    begins = next((n for n in range(at, len(data)) if data[n : n + 1] in (b":", b"=", b"[", b",")), len(data)) + 1
    ends = next((n for n in range(begins, len(data)) if data[n : n + 1] in (b",", b"}", b"]", b"\n")), len(data))
    return data[:begins] + ODD[what % len(ODD)] + data[ends:]


def _deep(data: bytes, where: float, what: int) -> bytes:
    depth, at = DEPTHS[what % len(DEPTHS)], int(where * len(data))
    opens, closes = ((b"[", b"]"), (b'{"a":', b"}"), (b"\x91", b""), (b"\x81\xa1a", b""))[what // 4 % 4]
    return data[:at] + opens * depth + b"1" + closes * depth + data[at:]


def _unknown(data: bytes, _where: float, what: int) -> bytes:
    """A field that nobody knows, with something odd or deep in it: what is passed over must be bounded as well."""
    inner = ODD[what % len(ODD)] if what % 2 else b"[" * DEPTHS[what // 2 % 4] + b"]" * DEPTHS[what // 2 % 4]
    return data.replace(b"{", b'{"zzz":' + inner + b",", 1)


def _large(data: bytes, where: float, what: int) -> bytes:
    at = int(where * len(data))
    return data[:at] + bytes([what]) * 300_000 + data[at:]


CHANGES: tuple[_Change, ...] = (
    _flip, _flip, _cut, _drop, _double, _insert, _number, _number, _number, _deep, _unknown, _unknown, _large,
)  # fmt: skip


def spoilt(seeds: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """One of the seeds, after one to four changes."""
    change = st.tuples(
        st.sampled_from(CHANGES), st.floats(min_value=0, max_value=1, exclude_max=True), st.integers(0, 255)
    )

    def changed(seed: bytes, changes: list[tuple[_Change, float, int]]) -> bytes:
        for apply, where, what in changes:
            seed = apply(seed, where, what)
        return seed

    return st.builds(changed, st.sampled_from(list(seeds)), st.lists(change, min_size=1, max_size=4))
