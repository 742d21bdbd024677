"""A site's settings of alerts: from when something is told, and to whom. Words and bounds only; see docs/alerts.md."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from edgelift_contract.bounds import Line, Word

_Seconds = Annotated[float, Meta(ge=0, le=31_536_000)]
_Name = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,31}\Z")]
_Timeout = Annotated[float, Meta(gt=0, le=60)]
_Words = Annotated[list[Word], Meta(max_length=64)]


class ReceiverSettings(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What every receiver has.

    Attributes:
        name: for people, and for `edgelift alert test NAME`.
        codes: only alerts with these codes; empty for all.
        secret_file: a file that only its owner can read, from the site's folder on: a webhook's key, a mailbox's password, a
            token of ntfy.
        secret_env: or the variable of the server's environment that holds it.
        timeout_s: how long the receiver may say nothing, seconds.
        ca_file: an authority of its own, in PEM, from the site's folder on.
    """

    name: _Name
    codes: _Words = []
    secret_file: str = ""
    secret_env: str = ""
    timeout_s: _Timeout = 10.0
    ca_file: str = ""


class WebhookSettings(ReceiverSettings, kw_only=True, forbid_unknown_fields=True, tag="webhook", tag_field="kind"):
    """A program that takes POST with JSON, signed as Standard Webhooks has it."""

    url: Line


class NtfySettings(ReceiverSettings, kw_only=True, forbid_unknown_fields=True, tag="ntfy", tag_field="kind"):
    """A topic of an ntfy server; `url` ends with the topic's name."""

    url: Line


class MailSettings(ReceiverSettings, kw_only=True, forbid_unknown_fields=True, tag="mail", tag_field="kind"):
    """Mailboxes, by an SMTP server.

    Attributes:
        host, port: the server's; port 0 for the one that is usual: 587, with `tls` 465, with `none` 25.
        security: `starttls`, `tls` from the first byte, or `none`.
        user: logs in with the secret as password; empty for nobody.
        sender: from whom; to: to whom.
    """

    host: Line
    port: Annotated[int, Meta(ge=0, le=65_535)] = 0
    security: Annotated[str, Meta(pattern=r"^(starttls|tls|none)\Z")] = "starttls"
    user: Line = ""
    sender: Line
    to: Annotated[list[Line], Meta(min_length=1, max_length=50)]


AnyReceiver = WebhookSettings | NtfySettings | MailSettings


class AlertSettings(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """`[alerts]`. All times in seconds.

    Attributes:
        every_s: how often the fleet is looked at.
        silent_for_s: a board that was not heard for so long is `offline`.
        hot_c: from this temperature on it is `hot`, degrees.
        disk_low_bytes: with less free than this its disk is low.
        certificate_ends_s: so long before its end a certificate is told of; of short ones a quarter of their time.
        begins_after_s: what a board says of itself begins once it has held for so long.
        ends_after_s: and what a board has ends once it was gone for so long.
        gather_s: a message about boards waits so long for more of them.
        grow_s: that more boards have it is told so often at most.
        repeat_s: what lasts is told again so often.
        link: where people look, for the links in messages; empty for the server's own address.
        receivers: who is told.
    """

    every_s: Annotated[float, Meta(gt=0, le=3600)] = 15.0
    silent_for_s: _Seconds = 900.0
    hot_c: Annotated[float, Meta(ge=0, le=300)] = 80.0
    disk_low_bytes: Annotated[int, Meta(ge=0, le=2**60)] = 512 << 20
    certificate_ends_s: _Seconds = 7 * 86_400.0
    begins_after_s: _Seconds = 600.0
    ends_after_s: _Seconds = 600.0
    gather_s: _Seconds = 60.0
    grow_s: _Seconds = 600.0
    repeat_s: Annotated[float, Meta(ge=60, le=31_536_000)] = 86_400.0
    link: Line = ""
    receivers: Annotated[list[AnyReceiver], Meta(max_length=16)] = []
