"""Telemetry in: windows a second over HTTP, in batches and one a request, and over MQTT; and how fast it is read back."""

import asyncio
import time

import msgspec
import numpy as np

from benchmarks.fleets.serving import PATIENCE_S, Serving
from edgelift_contract import codec, routes
from edgelift_contract.enrol import EnrolReply, EnrolRequest
from edgelift_contract.report import DeviceFacts
from edgelift_contract.telemetry import Batch, Item, Window
from edgelift_fleet.messages import DeviceDetail
from edgelift_fleet.simulate.http import Address, HttpConnection
from edgelift_fleet.simulate.mqtt import MqttLink
from edgelift_fleet.simulate.noise import draw_latencies

FACTS = DeviceFacts(hardware_class="x86-64-avx2", runtimes={"onnxruntime": "1.30.0"})
BATCH = 60


class Source:
    """One device's endless telemetry: a minute after the other, each with its sixty requests."""

    def __init__(self, number: int) -> None:
        self.device = f"store-{number:03d}"
        self._rng = np.random.default_rng(number)
        self._epoch = f"bench-{time.time_ns()}"
        # Minutes of the last month: what is older the control plane might forget at once.
        self._seq, self._at = 0, time.time() - 25 * 86400
        self._histograms = [draw_latencies(self._rng, 60, 1000.0, 0.25) for _ in range(20)]

    def batch(self, windows: int) -> bytes:
        return codec.canonical_json(
            Batch(schema=1, device=self.device, epoch=self._epoch, items=[self._item() for _ in range(windows)])
        )

    def _item(self) -> Item:
        self._seq, self._at = self._seq + 1, self._at + 60
        window = Window(
            start=self._at, end=self._at + 60, slot="digits", generation=1, artifact="a" * 64, model="digits",
            version="1", ok=60, latency_us={"total": self._histograms[self._seq % len(self._histograms)]},
        )  # fmt: skip
        return Item(self._seq, window=window)


async def enrol(connection: HttpConnection, device: str) -> EnrolReply:
    body = codec.canonical_json(EnrolRequest(schema=1, device=device, facts=FACTS))
    answer = await connection.ask("POST", routes.ENROL, body)
    if answer.status != 200:
        raise SystemExit(f"{device} could not enrol: {answer.status} {answer.body[:300]!r}")
    return codec.decode_json(answer.body, EnrolReply, what="enrolment reply")


async def over_http(
    server: Serving, seconds: float, *, windows: int, clients: int, first: int
) -> tuple[int, float]:
    """Windows stored, and in how many seconds; each client a device that sends one request after the other."""

    async def one(number: int) -> int:
        source, stored = Source(first + number), 0
        connection = HttpConnection(Address.of(server.url, server.token), patience_s=PATIENCE_S)
        await enrol(connection, source.device)
        while time.monotonic() < until:
            path = routes.telemetry_path(source.device)
            answer = await connection.ask("POST", path, source.batch(windows))
            if answer.status != 200:
                raise SystemExit(f"telemetry was refused: {answer.status} {answer.body[:300]!r}")
            stored += windows
        connection.close()
        return stored

    began = time.monotonic()
    until = began + seconds
    stored = sum(await asyncio.gather(*(one(n) for n in range(clients))))
    return stored, time.monotonic() - began


async def over_mqtt(server: Serving, seconds: float, *, clients: int, first: int) -> tuple[int, float]:
    """As `over_http`, one window a message, each device with ten on their way; counted when the host has them."""
    sources = [Source(first + n) for n in range(clients)]
    links = await asyncio.gather(*(_link(server, source) for source in sources))
    began = time.monotonic()
    until = began + seconds

    async def one(source: Source, link: MqttLink) -> int:
        sent = 0
        while time.monotonic() < until:
            topic = routes.telemetry_topic(source.device)
            await asyncio.gather(*(link.publish(topic, source.batch(1)) for _ in range(10)))
            sent += 10
        return sent

    sent = await asyncio.gather(*(one(s, link) for s, link in zip(sources, links, strict=True)))
    await asyncio.to_thread(_stored, server, dict(zip((s.device for s in sources), sent, strict=True)))
    took = time.monotonic() - began
    for link in links:
        link.disconnect()
    return sum(sent), took


async def _link(server: Serving, source: Source) -> MqttLink:
    connection = HttpConnection(Address.of(server.url, server.token), patience_s=PATIENCE_S)
    for _ in range(100):  # a broker reads its list of users a moment after the enrolment
        access = (await enrol(connection, source.device)).broker
        assert access is not None
        will = routes.state_topic(source.device), b""
        link = MqttLink(access, source.device, will=will, on_message=lambda _: None)
        try:
            await link.connect()
        except OSError:
            await asyncio.sleep(0.3)
            continue
        connection.close()
        return link
    raise SystemExit(f"{source.device} is not let into the broker")


def _stored(server: Serving, sent: dict[str, int]) -> None:
    """Wait until the host has all of it."""
    client, deadline = server.client(), time.monotonic() + PATIENCE_S
    for device, count in sent.items():
        while client.get(f"/v1/devices/{device}", DeviceDetail).windows_received < count:
            if time.monotonic() > deadline:
                raise SystemExit(f"{device}: not all of {count} windows were stored")
            time.sleep(0.05)


def query_p95_ms(server: Serving, times: int = 40) -> float:
    """How long a device's page takes, whose telemetry is what was just stored: the 95th percentile, milliseconds."""
    client, took = server.client(), []
    for number in range(times):
        began = time.perf_counter()
        client.get(f"/v1/devices/store-{number % 8:03d}", msgspec.Raw)
        took.append(time.perf_counter() - began)
    return round(1000 * sorted(took)[int(0.95 * times)], 1)
