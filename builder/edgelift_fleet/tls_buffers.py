"""How much memory a TLS connection of asyncio's takes, where thousands are open at once."""

from __future__ import annotations

from asyncio import sslproto

#: A TLS record has 16 KiB of data at most (RFC 8446, 5.1), and some bytes around it.
RECORD_BYTES = 20 * 1024


def keep_tls_buffers_small() -> None:
    """From now on a connection reads by records.

    asyncio gives each one a buffer of 256 KiB and fills it with zeros, so that it is resident: a thousand boards that wait
    in a long poll took 300 MB (measured, Python 3.11). Reading by 16 KiB costs a large upload some calls more.
    """
    sslproto.SSLProtocol.max_size = RECORD_BYTES  # type: ignore[attr-defined]  # not in its stubs
