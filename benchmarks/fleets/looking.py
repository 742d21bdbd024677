"""People who look at the console: how long its pages take, and what ten of them cost while nothing happens."""

import http.client
import ssl
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit

from benchmarks.fleets.serving import Serving
from edgelift_fleet.messages.people import AccessMade, AccessRequest

#: People who look at once, pages that each is shown so often.
VIEWERS, TIMES = 10, 30
#: What is looked at, and how it is called in the figures.
PAGES = {
    "fleet": "/", "offline": "/?trouble=offline", "class": "/?class=x86-64-avx2", "found": "/?to=bench-00",
    "last": "/?after=bench-004", "rollouts": "/rollouts", "rollout": "/rollouts/r1", "device": "/devices/bench-00001",
    "releases": "/releases",
    "release": "/releases/digits/1", "alerts": "/alerts", "system": "/system",
}  # fmt: skip


class Viewer:
    """A browser as the server sees it."""

    def __init__(self, server: Serving) -> None:
        made = server.client().post("/v1/access-tokens", AccessRequest(role="viewer", days=1), AccessMade)
        where = urlsplit(server.url)
        self._secure, self._at = where.scheme == "https", (where.hostname or "", where.port or 0)
        self._cookie = f"{'__Host-edgelift' if self._secure else 'edgelift'}={made.token}"
        self._open = self.connect()

    def connect(self) -> http.client.HTTPConnection:
        if not self._secure:
            return http.client.HTTPConnection(*self._at, timeout=60)
        # What it shows is not judged: this measures pages.
        trusting = ssl.create_default_context()
        trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
        return http.client.HTTPSConnection(*self._at, timeout=60, context=trusting)

    def get(self, path: str, tag: str = "") -> tuple[int, str, bytes]:
        """Status, tag and body."""
        headers = {"Cookie": self._cookie, "Accept": "text/html", **({"If-None-Match": tag} if tag else {})}
        self._open.request("GET", path, headers=headers)
        answer = self._open.getresponse()
        return answer.status, answer.headers.get("ETag", ""), answer.read()

    def watch(self, until: threading.Event) -> None:
        """Look at the front page as its script does: whenever the server says so."""
        stream, tag = self.connect(), ""
        stream.request("GET", "/pulse?lively=0", headers={"Cookie": self._cookie})
        beats = stream.getresponse()
        while not until.is_set():
            if beats.readline().startswith(b"event: look"):
                _, found, _ = self.get("/?partial=1", tag)
                tag = found or tag
        stream.close()


def pages_p95_ms(server: Serving) -> dict[str, float]:
    """Page → p95 of its answers, milliseconds, each asked for alone over a connection that stands."""
    viewer, found = Viewer(server), {}
    for name, path in PAGES.items():
        took = []
        for _ in range(TIMES):
            began = time.perf_counter()
            status, _, body = viewer.get(path)
            took.append(1000 * (time.perf_counter() - began))
            if status != 200 or b"<h1" not in body:
                raise SystemExit(f"{path} was answered {status}: {body[:500]!r}")
        found[name] = round(statistics.quantiles(took, n=20)[-1], 1)
    return found


@contextmanager
def watched(server: Serving) -> Iterator[None]:
    """Ten people look at the front page inside the block."""
    with ExitStack() as stack:
        ended = threading.Event()
        threads = [threading.Thread(target=Viewer(server).watch, args=(ended,)) for _ in range(VIEWERS)]
        for thread in threads:
            thread.start()
            stack.callback(thread.join)
        stack.callback(ended.set)
        yield


def console_idle_pct(server: Serving, seconds: float) -> float:
    """What ten people who look at the front page add to the server's share of a core, per cent; while nothing happens."""
    without = server.core_pct(seconds)
    with watched(server):
        time.sleep(10)  # their first looks
        found = server.core_pct(seconds)
    return round(found - without, 2)
