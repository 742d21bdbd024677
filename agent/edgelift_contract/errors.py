"""The three roots of every error, by who must act, and the stable code that each carries.

A code is a wire format: it travels in reports, is stored by the control plane and is read by people's alerts.
A code is never renamed; a new case gets a new code. Foreign exceptions are turned into these at the adapter
that meets them, so that no caller needs to know which library did the work.
"""

from __future__ import annotations

import errno


class EdgeliftError(Exception):
    """A failure that a person can act on.

    Attributes:
        code: stable, kebab-case; one of `CODES`.
        message: what was wrong and where, in the reader's terms; one sentence.
        hint: what to do about it; may be empty.
    """

    def __init__(self, code: str, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        if code not in CODES:
            raise ValueError(f"error code {code!r} is not declared in edgelift_contract.errors.CODES")
        self.code = code
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".rstrip()

    def __reduce__(self) -> tuple[object, ...]:
        # Errors cross process borders (builder's children, preflight): keep the code and the hint.
        return (_rebuild, (type(self), self.code, self.message, self.hint))


class TransportError(EdgeliftError):
    """The link or the other side's availability: try again later.

    Attributes:
        retry_after_s: how long the other side asks to be left alone, seconds, as it said; 0 when it didn't.
    """

    retry_after_s: float = 0.0


class ContractError(EdgeliftError):
    """The artifact, the input or the other side is wrong: refuse, trying again changes nothing."""


class DeviceError(EdgeliftError):
    """This machine can't: no space, no memory, no such runtime. Another machine might."""


#: What the system says when it refuses → the code it has here; everything else is `disk-error`.
_DISK_CODES = {
    errno.ENOSPC: "disk-full", errno.EDQUOT: "disk-full", errno.EFBIG: "disk-full",
    errno.EROFS: "read-only", errno.EACCES: "read-only", errno.EPERM: "read-only",
    errno.EMFILE: "no-descriptors", errno.ENFILE: "no-descriptors",
    errno.ENOMEM: "no-memory", errno.EAGAIN: "no-memory",
}  # fmt: skip


def disk_code(number: int | None) -> str:
    """The code of an operating system's refusal: `disk-full`, `read-only`, `no-descriptors`, `no-memory`, else
    `disk-error`. (EAGAIN is what a fork says where processes or memory are short.)
    """
    return _DISK_CODES.get(number or 0, "disk-error")


def _rebuild(kind: type[EdgeliftError], code: str, message: str, hint: str) -> EdgeliftError:
    return kind(code, message, hint=hint)


#: Every code that may travel, with what it means. `docs/errors.md` is written from this table.
CODES: dict[str, str] = {
    # links
    "unreachable": "the other side did not answer",
    "timed-out": "the other side did not answer in time",
    "name-unresolved": "the other side's name could not be turned into an address",
    "tls-failed": "no trusted connection could be agreed on: certificate, clock or protocol",
    "intercepted": "something on the way answered in the other side's place: a portal, a proxy, a cache",
    "server-error": "the other side answered with a failure of its own",
    "cut-short": "a transfer ended before all bytes had come",
    "not-authorised": "the token or the device id was not accepted",
    "token-spent": "an enrolment token has expired, was used as often as it may be, or was taken back",
    "already-enrolled": "the device has a certificate already, for another key than the one that asks",
    "identity-revoked": "the device's certificate was taken back",
    "identity-expired": "the device's certificate holds no more, and must be renewed first",
    "role-too-low": "who asks may not do this: it needs another role",
    "too-many-tries": "too many passwords that were tried were wrong: the next try must wait",
    # messages and artifacts
    "malformed": "a message or file does not have the form its schema demands",
    "unknown-schema": "a message or file names a schema version this program does not know",
    "too-large": "a message or file is larger than its limit",
    "bad-id": "a name is not of the form that its kind demands",
    "bad-path": "a file name in an artifact leaves its folder",
    "digest-mismatch": "the bytes are not those that the manifest names",
    "size-mismatch": "the length is not the one that the manifest names",
    "missing-blob": "a blob that a manifest names is not there",
    "changed-meanwhile": "it was changed since it was read",
    "key-reused": "the key of a request was given to another request before",
    "retired": "the release is given to nobody new",
    "blobs-wanted": "a release names blobs that were not brought yet",
    "wrong-hardware-class": "the artifact is built for hardware that this device does not have",
    "wrong-device": "a message is addressed to another device",
    "older-assignment": "the control plane counts lower than the device has seen, as after a restore from a backup",
    "duplicate-device": "two devices speak under one id, as after a card was cloned",
    "runtime-missing": "no runtime on this machine can load the artifact",
    "older-release": "the release counter is lower than one already accepted",
    "not-signed": "too few of those who must sign it have signed the metadata",
    "metadata-expired": "signed metadata has expired, by the time that the device can be sure of",
    "metadata-older": "signed metadata is older than what the device trusts already",
    "metadata-wrong": "signed metadata does not have its form, or does not fit the rest",
    "not-fresh": "signed metadata does not answer what the device asked last: it may be old",
    "not-genuine": "the image repository does not name the artifact",
    "not-agreed": "what the director and the image repository say of an artifact is not the same",
    "audit-broken": "the audit log is not what was written: an entry was altered, or is missing",
    "not-found": "the thing named does not exist",
    "unreadable-row": "what the control plane has stored of a device, release or rollout can't be read",
    "implausible": "what a device says it measured, no board can measure",
    "revisions-spent": "a device says that it has seen a revision to which nobody has counted",
    "version-skew": "the releases of agent and control plane are too far apart to work together",
    "agent-too-old": "the device's agent is of a release that can't be asked for this",
    "conflict": "the thing named exists already, or is in a state that does not allow this",
    "wrong-method": "an address takes other HTTP methods than the one it was asked by",
    "wrong-media-type": "a body calls itself something that is not read there, or is compressed",
    "not-acceptable": "a request accepts no form in which its answer could be given",
    "bad-request": "an inference request is not what the model takes",
    "not-in-json": "an output holds what JSON can't: NaN, infinity, or bytes that are no text",
    "deadline-passed": "a request's own time limit was over before the model could run it",
    # preflight, swap, probation
    "load-failed": "the runtime could not load the model",
    "golden-mismatch": "the model's output differs from the golden by more than its tolerance",
    "latency-over-budget": "the model is slower than its budget",
    "memory-over-budget": "the model needs more memory than its budget or the device has",
    "preflight-crashed": "the model ended the process that tried it",
    "preflight-hung": "the model did not answer within the preflight's time limit",
    "swap-failed": "the new generation could not be put in the old one's place",
    "drain-timeout": "requests on the old generation did not end in time",
    "probation-errors": "too many requests failed in probation",
    "probation-latency": "the new generation is slower than the old by more than the policy allows",
    "check-failed": "the device's own check said no in probation",
    "check-hung": "the device's own check did not end within its time limit",
    "check-undecided": "the device's own check said not now for as long as is waited for it",
    "check-not-started": "the device's own check is not there, or may not be run",
    "crashed-in-service": "the process ended while this generation served",
    "interrupted": "the process ended in the middle of this update",
    "superseded": "a newer assignment took this one's place",
    "pinned": "the slot is pinned on the device",
    # this machine
    "disk-full": "there is not enough free space",
    "disk-error": "the disk refused an operation",
    "read-only": "the file system cannot be written",
    "no-memory": "there is not enough memory",
    "no-descriptors": "no file descriptors are left",
    "state-damaged": "the agent's state database cannot be read",
    "newer-state": "the agent's state database was written by a newer agent",
    "clock-wrong": "the clock cannot be right",
    "port-in-use": "another program listens on this port",
    "bad-config": "a configuration value is wrong or missing",
    "tool-missing": "a program that this needs is not installed",
    "busy": "it can't be taken now, as too many wait already or the database is away: try again",
    "not-serving": "no model is loaded in this slot",
    "no-runtime": "the package that this format needs is not installed",
    "unsupported-platform": "this machine's processor or system is not supported",
    "not-allowed": "this user may not do that on this machine",
    "already-running": "another process holds this folder",
    # builder
    "source-missing": "the model file or function named does not exist",
    "source-raised": "the user's code raised an exception",
    "source-hung": "the user's code did not return in time",
    "source-invalid": "the source does not return what a source must",
    "shape-mismatch": "the example inputs do not fit the model",
    "unknown-target": "no target has this name",
    "unknown-metric": "a budget names a metric that the source is not judged by",
    "unknown-recipe": "no recipe has this name, or it names an unknown step",
    "unsupported-operator": "a format or a runtime has no kernel for one of the model's operators",
    "conversion-failed": "a converter could not convert the model",
    "accuracy-over-budget": "the artifact loses more accuracy than its budget allows",
    "nothing-to-ship": "no candidate passed its gates",
    "unsafe-file": "the file could run code when opened",
    "runtime-too-old": "no Python of the target has a runtime that is new enough for the artifact",
    "known-bad": "a kernel, hardware class and runtime version are known to give wrong results together",
    "step-failed": "a step of the recipe failed its pre- or post-condition",
    "not-enough-data": "there are too few samples to tell",
    "no-data": "there are no data to calibrate with or to judge by",
    "no-gain": "the artifact is neither smaller nor faster than float",
    # last resort
    "internal": "a fault in edgelift itself",
}


#: The codes of links, which `TransportError` carries.
LINKS: frozenset[str] = frozenset({
    "unreachable", "timed-out", "name-unresolved", "tls-failed", "intercepted", "server-error", "cut-short",
    "not-authorised", "token-spent", "already-enrolled", "identity-revoked", "identity-expired",
})  # fmt: skip

#: Why an update may fail today and not tomorrow: a link, something around the agent that ends some day, a power cut.
PASSING: frozenset[str] = LINKS | {
    "disk-full", "disk-error", "read-only", "no-memory", "no-descriptors", "state-damaged", "interrupted",
}  # fmt: skip
