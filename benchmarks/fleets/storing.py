"""Telemetry in: windows a second over HTTP, in batches and one a request, and over MQTT; and how fast it is read back."""

import asyncio
import time

import msgspec
import numpy as np

from benchmarks.fleets.serving import PATIENCE_S, Serving
from edgelift_contract import codec, routes
from edgelift_contract.enrol import EnrolReply, EnrolRequest
from edgelift_contract.histogram import HistogramData
from edgelift_contract.report import DeviceFacts
from edgelift_contract.telemetry import Batch, Item, Window
from edgelift_fleet.simulate.http import HttpAnswer
from edgelift_fleet.simulate.introducing import Introducing
from edgelift_fleet.simulate.mqtt import MqttLink
from edgelift_fleet.simulate.noise import draw_latencies

FACTS = DeviceFacts(hardware_class="x86-64-avx2", runtimes={"onnxruntime": "1.30.0"})
BATCH = 60


class Source:
    """One device's endless telemetry: a minute after the other, each with its sixty requests."""

    def __init__(self, number: int) -> None:
        self.device = self.name = f"store-{number:03d}"
        self._rng = np.random.default_rng(number)
        self._epoch = f"bench-{time.time_ns()}"
        # Minutes of the last month: what is older the control plane might forget at once.
        self._seq, self._at = 0, time.time() - 25 * 86400
        self._head, self._tail = self._around()
        self._items = [self._template(draw_latencies(self._rng, 60, 1000.0, 0.25)) for _ in range(20)]

    def enrolment(self, csr: str = "") -> bytes:
        """Its introduction."""
        return codec.canonical_json(EnrolRequest(schema=1, device=self.device, facts=FACTS, csr=csr))

    def batch(self, windows: int) -> bytes:
        """The next windows. Made of ready texts: the client's core is not what is measured."""
        items = []
        for _ in range(windows):
            self._seq, self._at = self._seq + 1, self._at + 60
            text = self._items[self._seq % len(self._items)].replace(b"333333333", b"%d" % self._seq)
            text = text.replace(b"111111111.5", b"%.3f" % self._at)
            items.append(text.replace(b"222222222.5", b"%.3f" % (self._at + 60)))
        return self._head + b",".join(items) + self._tail

    def _around(self) -> tuple[bytes, bytes]:
        whole = codec.canonical_json(Batch(schema=1, device=self.device, epoch=self._epoch, items=[]))
        head, bracket, tail = whole.partition(b"[]")
        assert bracket
        return head + b"[", b"]" + tail

    def _template(self, histogram: HistogramData) -> bytes:
        window = Window(
            start=111111111.5, end=222222222.5, slot="digits", generation=1, artifact="a" * 64, model="digits",
            version="1", ok=60, latency_us={"total": histogram},
        )  # fmt: skip
        return codec.canonical_json(Item(333333333, window=window))


async def enrol(who: Introducing, device: str) -> EnrolReply:
    async def send(body: bytes) -> HttpAnswer:
        answer = await who.asking.ask("POST", routes.ENROL, body)
        if answer.status != 200:
            raise SystemExit(f"{device} could not enrol: {answer.status} {answer.body[:300]!r}")
        return answer

    return await who.introduce(send)


async def over_http(
    server: Serving, seconds: float, *, windows: int, clients: int, first: int
) -> tuple[int, float]:
    """Windows stored, and in how many seconds; each client a device that sends one request after the other."""

    async def one(number: int) -> int:
        source, stored = Source(first + number), 0
        who = Introducing(source, server.address, patience_s=PATIENCE_S)
        await enrol(who, source.device)
        while time.monotonic() < until:
            path = routes.telemetry_path(source.device)
            answer = await who.asking.ask("POST", path, source.batch(windows))
            if answer.status != 200:
                raise SystemExit(f"telemetry was refused: {answer.status} {answer.body[:300]!r}")
            stored += windows
        who.asking.close()
        return stored

    began = time.monotonic()
    until = began + seconds
    stored = sum(await asyncio.gather(*(one(n) for n in range(clients))))
    return stored, time.monotonic() - began


async def over_mqtt(server: Serving, seconds: float, *, clients: int, first: int) -> tuple[int, float]:
    """As `over_http`, one window a message, each device with five on their way; counted when the host has them.

    Many devices, as a fleet has: one of which the host has 2,000 messages waiting is shut out as a flood.
    """
    sources = [Source(first + n) for n in range(clients)]
    links = await asyncio.gather(*(_link(server, source) for source in sources))
    began = time.monotonic()
    until = began + seconds

    async def one(source: Source, link: MqttLink) -> int:
        sent, topic = 0, routes.telemetry_topic(source.device)
        while time.monotonic() < until:
            await link.publish(topic, source.batch(1))
            sent += 1
        return sent

    # Each of the five sends its next one when its last is confirmed: none waits for the slowest of them.
    flights = [one(source, link) for source, link in zip(sources, links, strict=True) for _ in range(5)]
    sent = await asyncio.gather(*flights)
    await asyncio.to_thread(_stored, server, [source.device for source in sources], sum(sent))
    took = time.monotonic() - began
    for link in links:
        link.disconnect()
    return sum(sent), took


async def _link(server: Serving, source: Source) -> MqttLink:
    who = Introducing(source, server.address, patience_s=PATIENCE_S)
    for _ in range(100):  # a broker reads its list of users a moment after the enrolment
        access = (await enrol(who, source.device)).broker
        assert access is not None
        will = routes.state_topic(source.device), b""
        link = MqttLink(access, source.device, will=will, on_message=lambda *_: None, tls=who.tls)
        try:
            await link.connect()
        except OSError:
            await asyncio.sleep(0.3)
            continue
        who.asking.close()
        return link
    raise SystemExit(f"{source.device} is not let into the broker")


def _stored(server: Serving, devices: list[str], sent: int) -> None:
    """Wait until the host has all of it; asked of the database, for a question to the server is not what is measured."""
    deadline = time.monotonic() + PATIENCE_S
    while (stored := server.stored_windows(devices)) < sent:
        if time.monotonic() > deadline:
            raise SystemExit(f"{stored} of {sent} windows were stored")
        time.sleep(0.1)


def queries_p95_ms(server: Serving, times: int = 40) -> dict[str, float]:
    """What an operator asks, of the telemetry that was just stored: the 95th percentile of each question, milliseconds.

    Returns:
        `device`: a device's page. `latency_day`: the fleet's latency of the last day, by class and version.
        `latency_month`: of 30 days, in steps of a day. `latency_week`: of a week, in steps of an hour.
    """
    client, now = server.client(), time.time()
    asked = {
        "device": "/v1/devices/store-{n:03d}",
        "latency_day": "/v1/latency",
        "latency_week": f"/v1/latency?from={now - 7 * 86400:.0f}&step=3600",
        "latency_month": f"/v1/latency?from={now - 30 * 86400:.0f}&step=86400",
    }
    found = {}
    for name, path in asked.items():
        took = []
        for number in range(times):
            began = time.perf_counter()
            client.get(path.format(n=number % 8), msgspec.Raw)
            took.append(time.perf_counter() - began)
        found[name] = round(1000 * sorted(took)[int(0.95 * times)], 1)
    return found
