"""A simulated device, over real HTTP and MQTT: the supported fake of a device.

Each `SimulatedDevice` enrols, listens for its assignment by long poll or retained message, fetches the blobs,
"updates" with the outcome you chose, and reports as the agent does: whole reports, growing sequence numbers,
telemetry with swap records. Nothing is served; the figures are drawn from a seeded distribution.
"""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass
from typing import Any

import msgspec
import requests

from edgelift_contract import codec, routes
from edgelift_contract.assignment import Assignment, SlotAssignment, parse_assignment
from edgelift_contract.enrol import BrokerAccess, EnrolReply, EnrolRequest
from edgelift_contract.histogram import Histogram
from edgelift_contract.manifest import parse_manifest
from edgelift_contract.replies import ASSIGNMENT_HEADER
from edgelift_contract.report import DeviceFacts, Outcome, Presence, Report, SlotReport, UpdateReport
from edgelift_contract.telemetry import Batch, DeviceEvent, Gauges, Item, SwapRecord, Window
from edgelift_fleet.testing.mqtt import connect_mqtt

FACTS = DeviceFacts(
    hardware_class="x86-64-avx2", accepts=["x86-64-avx2"], runtimes={"onnxruntime": "1.30.0"}, board="simulated"
)

#: Longer than any answer takes on a busy machine, seconds.
_PATIENCE_S = 60.0


@dataclass
class Behaviour:
    """How a device takes an update.

    Attributes:
        outcome: of every version that `bad` doesn't name; `silent` never answers.
        bad: version → outcome, for versions that go otherwise.
        code: of outcomes that aren't `committed`.
        delay_s: how long an update takes, probation included.
        latency_us: version → median latency; 500 otherwise.
        gate: an update ends only once this is set; None: at once. So a test holds a device in the middle of one.
    """

    outcome: str = "committed"
    bad: dict[str, str] | None = None
    code: str = "golden-mismatch"
    delay_s: float = 0.0
    latency_us: dict[str, float] | None = None
    gate: threading.Event | None = None

    def of(self, version: str) -> str:
        """The outcome of a version."""
        return (self.bad or {}).get(version, self.outcome)


class SimulatedDevice:
    """One device. `start` and `stop` it as often as needed; every start is a new epoch."""

    def __init__(
        self, url: str, token: str, name: str, behaviour: Behaviour | None = None, *, mqtt: bool = False,
        tags: dict[str, str] | None = None, facts: DeviceFacts = FACTS, fetch: bool = True,
    ) -> None:  # fmt: skip
        """Bind.

        Args:
            url: of the control plane.
            token: the enrolment token.
            name: the device's id.
            behaviour: how it takes updates; may be changed at any time.
            mqtt: use the broker that the enrolment names; else HTTP alone.
            tags: sent at enrolment and in reports.
            facts: of the machine.
            fetch: fetch manifest and blobs as an agent would.
        """
        self.url, self.name, self.facts, self.tags = url, name, facts, tags or {}
        self.behaviour = behaviour or Behaviour()
        self.slots: dict[str, SlotReport] = {}
        self.revision, self.held = 0, ""
        self.epoch, self.sequence, self.seq = "", 0, 0
        self.fetched: dict[str, int] = {}
        self._mqtt, self._fetch, self._starts = mqtt, fetch, 0
        self._session = requests.Session()
        self._session.headers["Authorization"] = f"Bearer {token}"
        self._session.trust_env = False
        self._random = random.Random(name)  # noqa: S311 - figures, not secrets
        self._lock = threading.RLock()
        self._stopping = threading.Event()
        self._wake = threading.Event()
        self._inbox: list[bytes] = []
        self._thread: threading.Thread | None = None
        self.client: Any = None
        self.broker: BrokerAccess | None = None
        self.errors: list[str] = []
        self._linked_again = False

    def start(self) -> SimulatedDevice:
        """Enrol and live, in a thread."""
        self._starts += 1
        self.epoch, self.sequence = f"{self.name}-{self._starts}", 0
        self._stopping.clear()
        self.enrol()
        if self._mqtt and self.broker:
            self._connect(self.broker)
        self.report()
        self._thread = threading.Thread(target=self._live, name=self.name, daemon=True)
        self._thread.start()
        return self

    def ask_to_stop(self) -> None:
        """Have it end soon."""
        self._stopping.set()
        self._wake.set()

    def stop(self) -> None:
        """End; with MQTT after a good-bye."""
        self.ask_to_stop()
        if self._thread is not None:
            self._thread.join()  # what it is about ends by itself, and nothing of it may run beside the next start
        if self.client is not None:
            self.client.publish(routes.state_topic(self.name), self._presence(online=False), 1, retain=True)
            self.client.disconnect()
            self.client.loop_stop()
            self.client = None
        self._session.close()

    def enrol(self) -> EnrolReply:
        """Introduce itself; raises `requests.HTTPError` when refused."""
        request = EnrolRequest(schema=1, device=self.name, facts=self.facts, tags=self.tags)
        response = self._call("POST", routes.ENROL, codec.canonical_json(request))
        reply = codec.decode_json(response.content, EnrolReply, what="enrolment reply")
        self.broker = reply.broker
        return reply

    def report(self) -> Report:
        """Send the whole state."""
        with self._lock:
            self.sequence += 1
            made = Report(
                schema=1, device=self.name, epoch=self.epoch, sequence=self.sequence, at=time.time(),
                agent_version="simulated", revision_seen=self.revision, revision_applied=self.revision,
                slots=dict(self.slots), facts=self.facts, tags=self.tags, assignment=self.held,
            )  # fmt: skip
            self._send(routes.reported_topic(self.name), routes.report_path(self.name), "PUT", made, retain=True)
        return made

    def deliver(self, *bodies: Window | Gauges | SwapRecord | DeviceEvent) -> Batch:
        """Send telemetry, each body as an item of its own."""
        items = []
        for body in bodies:
            self.seq += 1
            items.append(
                Item(
                    self.seq,
                    window=body if isinstance(body, Window) else None,
                    gauges=body if isinstance(body, Gauges) else None,
                    swap=body if isinstance(body, SwapRecord) else None,
                    event=body if isinstance(body, DeviceEvent) else None,
                )
            )
        batch = Batch(schema=1, device=self.name, epoch=f"outbox-{self.name}", items=items)
        self._send(routes.telemetry_topic(self.name), routes.telemetry_path(self.name), "POST", batch)
        return batch

    def window(self, slot: str, *, requests_made: int = 50) -> Window:
        """A minute of what serves in the slot."""
        state = self.slots[slot]
        data = self._latency(state.version, requests_made).to_data()
        now = time.time()
        return Window(
            start=now - 60, end=now, slot=slot, generation=state.generation, artifact=state.artifact,
            model=state.model, version=state.version, ok=requests_made, latency_us={"total": data},
        )  # fmt: skip

    def _live(self) -> None:
        while not self._stopping.is_set():
            try:
                data = self._next()
                if self._linked_again:
                    self._linked_again = False
                    self.report()  # the whole state, as the agent's: so whatever was lost corrects itself
                if data is not None:
                    self.take(data)
            except (requests.RequestException, OSError) as error:
                self._linked_again = True
                self.errors.append(str(error))
                self._stopping.wait(0.2)
                if isinstance(error, requests.HTTPError) and error.response.status_code == 404:
                    self._enrol_again()

    def _enrol_again(self) -> None:
        """To a host that doesn't know it any more."""
        try:
            self.enrol()
            self.report()
        except (requests.RequestException, OSError) as error:
            self.errors.append(str(error))

    def _next(self) -> bytes | None:
        if self.client is not None:
            self._wake.wait(1)
            self._wake.clear()
            inbox, self._inbox = self._inbox, []
            return inbox[-1] if inbox else None
        headers = {"If-None-Match": f'"{self.revision}"', ASSIGNMENT_HEADER: self.held}
        path = f"{routes.desired_path(self.name)}?wait_s=0.5"
        response = self._call("GET", path, headers=headers)
        return response.content if response.status_code == 200 else None

    def take(self, data: bytes) -> None:
        """Converge to an assignment; the same one changes nothing, and of an older one the host is told, as by the agent."""
        assignment, digest = parse_assignment(data, device=self.name), codec.digest(data)
        if digest == self.held or (assignment.revision == self.revision and not self.held):
            return
        if assignment.revision <= self.revision:
            self.report()
            self._stopping.wait(0.05)
            return
        before = self.revision, self.held
        self.revision, self.held = assignment.revision, digest
        try:
            self._converge(assignment)
        except BaseException:
            self.revision, self.held = before  # the link broke: it is asked for, and carried out, again
            raise

    def _converge(self, assignment: Assignment) -> None:
        changed = [s for s, wanted in assignment.slots.items() if self._differs(s, wanted)]
        for slot in set(self.slots) - set(assignment.slots):
            del self.slots[slot]
        for slot in changed:
            self._update(slot, assignment.slots[slot], assignment)
        self.report()

    def _differs(self, slot: str, wanted: SlotAssignment) -> bool:
        update = self.slots.get(slot, SlotReport()).update
        if update is not None and update.outcome == "in-progress":
            return True  # the link broke in the middle of it
        if update is not None and update.outcome != "committed" and wanted.asked > update.revision:
            return True  # it failed, and is asked again
        return update is None or (update.artifact, update.rollout) != (wanted.artifact, wanted.rollout)

    def _update(self, slot: str, wanted: SlotAssignment, assignment: Assignment) -> None:
        old = self.slots.get(slot, SlotReport())
        outcome = self.behaviour.of(wanted.version)
        if old.artifact == wanted.artifact:
            self.slots[slot] = _with(old, self._update_report(wanted, assignment, "committed"))
            self.deliver(self._proof(slot, wanted))
            return
        fetched = self._fetch_artifact(wanted) if self._fetch else 0
        if outcome == "silent":
            return
        self.slots[slot] = _with(old, self._update_report(wanted, assignment, "in-progress"), state="updating")
        self.report()
        self._stopping.wait(self.behaviour.delay_s)
        gate = self.behaviour.gate
        while gate is not None and not self._stopping.is_set() and not gate.wait(0.05):
            pass
        ended = self._update_report(wanted, assignment, outcome, fetched)
        if outcome != "committed":
            self.slots[slot] = _with(old, ended, state="serving" if old.artifact else "empty")
            self.deliver(
                DeviceEvent(
                    at=time.time(), kind="update-refused", slot=slot, code=ended.code, message=ended.message
                )
            )
            return
        made = SlotReport(
            "serving", old.generation + 1, wanted.artifact, wanted.model, wanted.version, time.time(), ended
        )
        self.slots[slot] = made
        self.deliver(self._swap(slot, old, made, fetched), self._proof(slot, wanted))

    def _proof(self, slot: str, wanted: SlotAssignment) -> Window:
        """What the host asks for before it believes a commit: a window with enough requests, before the report."""
        return self.window(slot, requests_made=max(50, wanted.policy.probation_min_requests))

    def _update_report(
        self, wanted: SlotAssignment, assignment: Assignment, outcome: str, fetched: int = 0
    ) -> UpdateReport:
        failed = outcome not in ("committed", "in-progress")
        return UpdateReport(
            artifact=wanted.artifact, model=wanted.model, version=wanted.version, revision=assignment.revision,
            rollout=wanted.rollout, outcome=msgspec.convert(outcome, Outcome),
            phase="preflight" if failed else "idle",
            code=self.behaviour.code if failed else "",
            message=f"The simulated device {self.name} does not take {wanted.version}." if failed else "",
            requests=20, fetched_bytes=fetched, finished_at=time.time(),
        )  # fmt: skip

    def _swap(self, slot: str, old: SlotReport, new: SlotReport, fetched: int) -> SwapRecord:
        return SwapRecord(
            at=time.time(), slot=slot, generation_from=old.generation, generation_to=new.generation,
            artifact_from=old.artifact, artifact_to=new.artifact, version_from=old.version,
            version_to=new.version, commit_us=3.5, dropped=0, fetched_bytes=fetched,
            before_us=self._latency(old.version, 30).to_data() if old.artifact else None,
            after_us=self._latency(new.version, 30).to_data(),
        )  # fmt: skip

    def _latency(self, version: str, count: int) -> Histogram:
        made = Histogram()
        median = (self.behaviour.latency_us or {}).get(version, 500.0)
        for _ in range(count):
            made.record(median * self._random.lognormvariate(0, 0.1))
        return made

    def _fetch_artifact(self, wanted: SlotAssignment) -> int:
        before = sum(self.fetched.values())
        manifest = parse_manifest(self._blob(wanted.artifact))
        for entry in manifest.files:
            self._blob(entry.sha256)
        return sum(self.fetched.values()) - before

    def _blob(self, sha256: str) -> bytes:
        data = self._call("GET", routes.blob_path(sha256)).content
        if codec.digest(data) != sha256:
            raise OSError(f"blob {sha256[:12]} was altered")
        self.fetched.setdefault(sha256, len(data))
        return data

    def _send(self, topic: str, path: str, method: str, message: Report | Batch, *, retain: bool = False) -> None:
        data = codec.canonical_json(message)
        if self.client is not None:
            try:
                self.client.publish(topic, data, 1, retain=retain).wait_for_publish(_PATIENCE_S)
            except (RuntimeError, ValueError) as error:  # what paho raises while there is no connection
                raise ConnectionError(f"the broker did not take it: {error}") from error
        else:
            self._call(method, path, data)

    def _call(
        self, method: str, path: str, data: bytes | None = None, headers: dict[str, str] | None = None
    ) -> requests.Response:
        response = self._session.request(method, self.url + path, data=data, headers=headers, timeout=_PATIENCE_S)
        response.raise_for_status()
        return response

    def _connect(self, access: BrokerAccess) -> None:
        self.client = connect_mqtt(
            access, self.name, will=(routes.state_topic(self.name), self._presence(online=False))
        )
        self.client.on_message = self._on_message
        # Also over every later connection: a broker that was started again knows neither birth nor subscription.
        self.client.on_connect = lambda *_: self._introduce(again=True)
        self._introduce()

    def _introduce(self, *, again: bool = False) -> None:
        self._linked_again = again
        self.client.publish(routes.state_topic(self.name), self._presence(online=True), 1, retain=True)
        self.client.subscribe(routes.desired_topic(self.name), 1)

    def _presence(self, *, online: bool) -> bytes:
        return codec.canonical_json(Presence(1, self.name, online, self.epoch, 1))

    def _on_message(self, _client: Any, _data: Any, message: Any) -> None:
        # No lock here: `report` holds it while it waits for an answer that this very thread must receive.
        self._inbox.append(bytes(message.payload))
        self._wake.set()


def _with(old: SlotReport, update: UpdateReport, *, state: Any = None) -> SlotReport:
    return SlotReport(state or old.state, old.generation, old.artifact, old.model, old.version, old.since, update)
