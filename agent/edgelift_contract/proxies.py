"""By which proxy a URL is called, as the environment says: $HTTPS_PROXY, $ALL_PROXY, but for what $NO_PROXY names.

HTTPS alone goes by one: it hands bytes on, and TLS holds from end to end (CONNECT; RFC 9110, 9.3.6). Of plain HTTP a proxy
would see every token, so none is asked.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit


def proxy_for(url: str) -> str:
    """The proxy's URL; empty for none. What is on this machine is never called by one."""
    from urllib.request import getproxies_environment, proxy_bypass  # late: seldom needed

    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme != "https" or not host:
        return ""
    said = getproxies_environment()
    found = said.get("https") or said.get("all") or ""
    if not found or host == "localhost" or _is_excepted(host, said.get("no", "")):
        return ""
    if proxy_bypass(f"{host}:{parts.port or 443}"):
        return ""
    return found if "://" in found else f"http://{found}"


def _is_excepted(host: str, names: str) -> bool:
    """Is an address this machine's own, or in a network (10.0.0.0/8) among the names?"""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    for name in names.split(","):
        try:
            if address in ipaddress.ip_network(name.strip(), strict=False):
                return True
        except ValueError:
            continue
    return address.is_loopback
