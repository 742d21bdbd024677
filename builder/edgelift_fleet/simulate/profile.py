"""The profile of a simulated fleet: which boards there are, what they measure, and what befalls them. A TOML file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import Meta

from edgelift_contract import codec
from edgelift_contract.bundle import BUNDLE_ABILITY
from edgelift_contract.errors import CODES, ContractError, DeviceError
from edgelift_contract.ids import Name
from edgelift_contract.report import DeviceFacts
from edgelift_fleet.simulate.noise import Noise

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_Share = Annotated[float, Meta(ge=0, le=1)]
_Seconds = Annotated[float, Meta(ge=0, le=30 * 86400)]
_Positive = Annotated[float, Meta(gt=0, le=1e9)]
_Size = Annotated[float, Meta(ge=0, le=3)]

#: How a release goes wrong on a board; see `ReleaseFault`.
FaultKind = Literal["refuse", "roll-back", "die", "fail-later", "forge", "silent"]


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


class BoardClass(_Strict, frozen=True, kw_only=True):
    """Boards of one kind.

    Attributes:
        name: for people, and to name it below.
        share: of the fleet, in proportion to the other classes' shares.
        hardware_class, accepts, runtimes, memory_mb, cores, board, system, timezone: facts that its
            boards report.
        tags: of its boards, as a configuration file gives them.
        transport: `mqtt` where the site has a broker, else `http`.
        latency_ms: median of a request to a version of factor 1.
        spread: between boards, standard deviation of the logarithm of that median.
        requests_per_s: how often each board is asked; 0: no traffic.
        error_rate: share of its requests that fail, whatever the version.
        update_s: least and most that fetching to preflight takes.
        versions: version, or model@version, → factor of the median on this class.
        temperature_c: of its processor, usually; 0: its boards send no gauges.
    """

    name: Name
    share: _Positive = 1.0
    hardware_class: str = "x86-64-avx2"
    accepts: list[str] = []
    runtimes: dict[str, str] = msgspec.field(default_factory=lambda: {"onnxruntime": "1.30.0"})
    memory_mb: Annotated[int, Meta(ge=0, le=2**24)] = 4096
    cores: Annotated[int, Meta(ge=0, le=4096)] = 4
    board: str = "simulated"
    system: str = ""
    timezone: Annotated[str, Meta(max_length=64)] = ""
    tags: dict[str, str] = {}
    transport: Literal["mqtt", "http"] = "mqtt"
    latency_ms: _Positive = 10.0
    spread: _Size = 0.0
    requests_per_s: Annotated[float, Meta(ge=0, le=10_000)] = 1.0
    error_rate: _Share = 0.0
    update_s: tuple[_Seconds, _Seconds] = (0.0, 0.0)
    versions: dict[str, _Positive] = {}
    temperature_c: Annotated[float, Meta(ge=0, le=120)] = 0.0

    def facts(self) -> DeviceFacts:
        """What its boards report of themselves."""
        return DeviceFacts(
            hardware_class=self.hardware_class, accepts=self.accepts or [self.hardware_class],
            runtimes=self.runtimes, cores=self.cores, memory_bytes=self.memory_mb << 20, board=self.board,
            system=self.system, timezone=self.timezone, abilities=[BUNDLE_ABILITY],
        )  # fmt: skip


class ReleaseFault(_Strict, frozen=True, kw_only=True):
    """A version that goes wrong.

    Attributes:
        version: `4`, or `digits@4`.
        kind: `refuse`: in preflight; `roll-back`: in probation; `die`: the board goes off in its probation;
            `fail-later`: it commits, and then `error_rate` of its requests fail; `forge`: it claims to have committed
            at once, having served nothing; `silent`: it never says a word about it.
        classes: names; empty: every class.
        share: of those boards that it hits.
        code: that a `refuse` or `roll-back` reports.
        error_rate: of `fail-later`.
        back_s: after which a board that died comes back, rolled back; 0: never.
    """

    version: str
    kind: FaultKind
    classes: list[str] = []
    share: _Share = 1.0
    code: str = "golden-mismatch"
    error_rate: _Share = 0.5
    back_s: _Seconds = 0.0


class Spell(_Strict, frozen=True, kw_only=True):
    """A stretch of time in which something holds for some boards.

    Attributes:
        classes: names; empty: every class.
        share: of those boards.
        after_s: from the start of the simulation to the first, spread by half of that either way.
        for_s: how long it lasts.
        every_s: mean time to the next, at random; 0: it comes once.
        factor: of latency while it lasts; of `throttled` spells alone.
    """

    classes: list[str] = []
    share: _Share = 1.0
    after_s: _Seconds = 0.0
    for_s: _Seconds
    every_s: _Seconds = 0.0
    factor: _Positive = 1.5


class NoiseSizes(_Strict, frozen=True, kw_only=True):
    """See `noise.Noise`; `common_s` is how long one shift that is common to all lasts, seconds."""

    window_sd: _Size = Noise.window_sd
    window_rho: _Share = Noise.window_rho
    swap_sd: _Size = Noise.swap_sd
    common_sd: _Size = Noise.common_sd
    request_sd: _Size = Noise.request_sd
    common_s: _Positive = 3600.0

    @property
    def sizes(self) -> Noise:
        """As `noise` takes them."""
        return Noise(self.window_sd, self.window_rho, self.swap_sd, self.common_sd, self.request_sd)


class Profile(_Strict, frozen=True, kw_only=True):
    """A fleet.

    Attributes:
        schema: version of this file's form.
        window_s: length of a window of latencies.
        publish_s: how often windows are sent; a swap's end sends them at once.
        poll_s: how often a board on MQTT asks over HTTP all the same; a board without a broker has a poll parked.
        time_scale: how much faster than a clock this file's own times pass (spells, updates); what a rollout's
            policy names passes as it does for real boards, as the host judges it by its own clock.
        retry_first_s, retry_most_s: of the back-off after a failed connection, each wait at random below it.
        fetch: `all` blobs of a release, its `manifest` alone, or `none`.
        noise: of what is measured.
        classes: of boards; at least one.
        versions: version, or model@version, → factor of the median latency on every class.
        faults: versions that go wrong; the first that fits a board counts.
        offline: the link is gone while the board goes on serving, and tells later.
        restarts: the board is off for a while and begins a new epoch.
        throttled: the processor is too hot.
    """

    schema: int
    window_s: Annotated[float, Meta(ge=0.05, le=86400)] = 60.0
    publish_s: Annotated[float, Meta(ge=0.05, le=86400)] = 60.0
    poll_s: Annotated[float, Meta(ge=1, le=86400)] = 300.0
    time_scale: Annotated[float, Meta(ge=0.001, le=100_000)] = 1.0
    retry_first_s: Annotated[float, Meta(gt=0, le=3600)] = 1.0
    retry_most_s: Annotated[float, Meta(gt=0, le=3600)] = 60.0
    fetch: Literal["all", "manifest", "none"] = "all"
    noise: NoiseSizes = NoiseSizes()
    classes: Annotated[list[BoardClass], Meta(min_length=1, max_length=1000)]
    versions: dict[str, _Positive] = {}
    faults: list[ReleaseFault] = []
    offline: list[Spell] = []
    restarts: list[Spell] = []
    throttled: list[Spell] = []

    SCHEMA: ClassVar[int] = 1


SHIPPED = Path(__file__).parent / "profiles"
#: Longest profile that is read, bytes.
_MAX_BYTES = 256 * 1024


def load_profile(path: Path) -> Profile:
    """Read a profile; a bare name as `barn` or `barn.toml` that is no file here is a shipped one.

    Raises:
        ContractError: `not-found`; `malformed` with the field; `unknown-schema`.
        DeviceError: `bad-config` when the file can't be read.
    """
    shipped = SHIPPED / path.with_suffix(".toml").name
    if not path.exists() and path.parent == Path() and shipped.exists():
        path = shipped
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_BYTES + 1)
        if len(text) > _MAX_BYTES:
            raise ContractError("too-large", f"The profile {path} has more than {_MAX_BYTES} bytes.")
        read = tomllib.loads(text.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n"))
        profile = codec.convert(read, Profile, what=f"profile {path}")
    except FileNotFoundError:
        known = ", ".join(sorted(p.stem for p in SHIPPED.glob("*.toml")))
        raise ContractError("not-found", f"There is no profile {path}.", hint=f"Shipped ones: {known}.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DeviceError("bad-config", f"The profile {path} cannot be read: {error}.") from error
    except (ValueError, RecursionError) as error:  # a number of too many digits is Python's own ValueError
        raise ContractError("malformed", f"The profile {path} is not valid: {error}.") from error
    if profile.schema != Profile.SCHEMA:
        raise ContractError(
            "unknown-schema", f"{path} has schema {profile.schema}; this program reads schema {Profile.SCHEMA}."
        )
    _check(profile, path)
    return profile


def _check(profile: Profile, path: Path) -> None:
    names = [c.name for c in profile.classes]
    if len(set(names)) != len(names):
        raise ContractError("malformed", f"The profile {path} names a class twice.")
    spells = [*profile.offline, *profile.restarts, *profile.throttled]
    named = [name for fault in profile.faults for name in fault.classes]
    named += [name for spell in spells for name in spell.classes]
    for unknown in (name for name in named if name not in names):
        raise ContractError("malformed", f"The profile {path} names a class {unknown!r} that it does not have.")
    for fault in profile.faults:
        if fault.code not in CODES:
            raise ContractError(
                "malformed", f"The profile {path} has a code {fault.code!r} that no device reports.",
                hint="See docs/errors.md.",
            )  # fmt: skip
    if any(low > high for low, high in (c.update_s for c in profile.classes)):
        raise ContractError("malformed", f"The profile {path} has an update_s whose least is above its most.")
