"""How much memory a TLS connection of asyncio's takes, where thousands are open at once."""

from __future__ import annotations

from asyncio import sslproto

#: A report, a poll and what answers them fit in.
BUFFER_BYTES = 4 * 1024


def keep_tls_buffers_small() -> None:
    """From now on a connection reads by small pieces.

    asyncio gives each one a buffer of 256 KiB and fills it with zeros, so that it is resident: a thousand boards that wait
    in a long poll took 300 MB (measured, Python 3.11). By 4 KiB an upload of 100 MB takes the server 0.3 s of a core, as it
    did before; records (16 KiB, RFC 8446, 5.1) come in pieces then.
    """
    sslproto.SSLProtocol.max_size = BUFFER_BYTES  # type: ignore[attr-defined]  # not in its stubs
