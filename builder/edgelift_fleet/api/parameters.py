"""The form of what stands in paths, by the name that routes give it: for the OpenAPI document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgelift_contract.bundle import BUNDLE_ID_PATTERN
from edgelift_contract.ids import DEVICE_ID_PATTERN, NAME_PATTERN, SHA256_PATTERN, VERSION_PATTERN


def _text(pattern: str, example: str, about: str) -> dict[str, Any]:
    schema = {"type": "string", "pattern": pattern.replace(r"\Z", "$")}
    return {"schema": schema, "example": example, "description": about}


#: name → schema, example and description. A path may have no other name, unless its route gives it a form itself.
IN_PATH: Mapping[str, dict[str, Any]] = {
    "device": _text(DEVICE_ID_PATTERN, "pi-1", "A device's id."),
    "slot": _text(NAME_PATTERN, "digits", "A slot of a device; the model's name unless something else was said."),
    "name": _text(NAME_PATTERN, "digits", "A model's name."),
    "model": _text(NAME_PATTERN, "digits", "A model's name."),
    "version": _text(VERSION_PATTERN, "3", "A release's version."),
    "rollout": _text("^r[0-9]{1,9}$", "r1", "A rollout's id."),
    "sha256": _text(SHA256_PATTERN, "9f" * 32, "A blob's digest."),
    "bundle": _text(BUNDLE_ID_PATTERN, "0f" * 16, "A bundle's id."),
    "token": _text("^[0-9a-f]{8}$", "0a1b2c3d", "An enrolment token's id."),
    "access": _text("^[0-9a-f]{8}$", "0a1b2c3d", "An access token's id."),
    "person": _text("^[a-z0-9][a-z0-9._-]{0,63}$", "maria", "A person's name."),
    "silence": _text("^[0-9a-f]{8}$", "0a1b2c3d", "A silence's id."),
    "receiver": _text("^[a-z0-9][a-z0-9-]{0,31}$", "on-call", "A receiver of alerts, by its name."),
    "code": _text("^[a-z0-9-]{1,64}$", "not-found", "A refusal's code."),
}
