"""A control plane in one process, over real HTTP, for one or a few devices; it can misbehave on request.

Publishes toy artifacts, assigns them, collects reports and telemetry, and serves blobs with ranges. Faults
are plain fields: set one, and the next transfers suffer.
"""

from __future__ import annotations

import http.server
import socket
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

import msgspec

from edgelift_agent.testing.artifact import toy_artifact
from edgelift_agent.testing.host_bundles import ToyBundles
from edgelift_agent.testing.host_faults import Faults
from edgelift_agent.testing.host_signing import ToySigning, media_of
from edgelift_agent.testing.runtime import ToyModelFile
from edgelift_contract import __version__, codec, routes
from edgelift_contract.assignment import Assignment, SlotAssignment, dump_assignment
from edgelift_contract.bundle import BUNDLE_HEADER
from edgelift_contract.enrol import BrokerAccess, EnrolReply, EnrolRequest
from edgelift_contract.errors import ContractError
from edgelift_contract.ids import check_device_id
from edgelift_contract.message_types import prepare_message_types
from edgelift_contract.replies import ASSIGNMENT_HEADER, MARK, MARK_VALUE, BatchReply, ErrorReply, ReportReply
from edgelift_contract.report import Report
from edgelift_contract.telemetry import Batch, Item

_Message = TypeVar("_Message", Report, Batch)

#: Longer than a device takes for anything on a busy machine, seconds: only who waits in vain waits so long.
LONG_S = 180.0


class ToyHost:
    """Publishes, assigns, listens. `url` and `token` go into a device's configuration.

    `poll_body` makes what a poll is answered with of an assignment: replace it to send something else.
    """

    token = "toy-token"  # noqa: S105 - opens nothing but this toy

    def __init__(self, *, broker: BrokerAccess | None = None, port: int = 0) -> None:
        prepare_message_types()  # before the first thread
        self.blobs: dict[str, bytes] = {}
        self.enrolled: set[str] = set()
        self.assignments: dict[str, Assignment] = {}
        self.reports: dict[str, list[Report]] = {}
        self.items: dict[tuple[str, str, int], Item] = {}
        self.served_bytes = 0
        self.bundles = ToyBundles()
        self.faults = Faults()
        self.broker = broker
        self.poll_wait_s = 5.0
        self.signing = ToySigning()
        self.version = __version__
        self.poll_body: Callable[[Assignment], bytes] = dump_assignment
        self.changed = threading.Condition()
        host = self

        class _Bound(_Handler):
            toy = host

        class _Server(http.server.ThreadingHTTPServer):
            def handle_error(self, request: Any, client_address: Any) -> None:
                """A device that went away in the middle is what these tests are about."""

        self._server = _Server(("127.0.0.1", port), _Bound)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()

    def publish(self, version: str, file: ToyModelFile, **options: Any) -> SlotAssignment:
        """Make an artifact and keep its blobs; see `toy_artifact`. Returns what to assign."""
        assignment, blobs = toy_artifact(version, file, **options)
        self.blobs.update(blobs)
        return assignment

    def assign(self, device: str, **slots: SlotAssignment) -> int:
        """State what the device should run, all slots at once, and be asked for anew; returns the revision."""
        with self.changed:
            old = self.assignments.get(device)
            revision = (old.revision if old else 0) + 1
            slots = {name: msgspec.structs.replace(slot, asked=revision) for name, slot in slots.items()}
            self.assignments[device] = Assignment(
                schema=Assignment.SCHEMA,
                device=device,
                revision=revision,
                issued_at=time.time(),
                slots=slots,
            )
            self.changed.notify_all()
            return revision

    def want_bundle(self, device: str, bundle: str) -> None:
        """Ask the device for a bundle; once it came it is in `bundles.brought` by its id, unpacked."""
        with self.changed:
            self.bundles.wanted[device] = bundle
            self.changed.notify_all()

    def wait_for_bundle(self, bundle: str) -> dict[str, bytes]:
        """The files of a bundle, once it came.

        Raises:
            TimeoutError: it did not.
        """
        with self.changed:
            if not self.changed.wait_for(lambda: bundle in self.bundles.brought, LONG_S):
                raise TimeoutError(f"the bundle {bundle} did not come")
            return self.bundles.brought[bundle]

    def last(self, device: str) -> Report | None:
        """The newest report."""
        reports = self.reports.get(device)
        return reports[-1] if reports else None

    def wait_for(self, device: str, condition: Any, timeout_s: float = LONG_S) -> Report:
        """Wait for a report that satisfies `condition(report)`.

        Raises:
            TimeoutError: none came; the message holds the last one.
        """
        deadline = time.monotonic() + timeout_s
        with self.changed:
            while True:
                report = self.last(device)
                if report is not None and condition(report):
                    return report
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError(f"no such report; the last was {report}")
                self.changed.wait(left)

    def of_kind(self, kind: str, device: str = "") -> list[Any]:
        """Telemetry received so far: `window`, `swap`, `event` or `gauges`, in order."""
        with self.changed:  # items come while others read
            items = sorted(self.items.items())
        found = [getattr(item, kind) for (name, _, _), item in items if not device or name == device]
        return [body for body in found if body is not None]


class _Handler(http.server.BaseHTTPRequestHandler):
    toy: ToyHost
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Assignment or blob."""
        path, query = urlsplit(self.path).path, parse_qs(urlsplit(self.path).query)
        if self._refused():
            return
        parts = path.strip("/").split("/")
        if parts[1:2] == ["blobs"]:
            self._blob(parts[2])
        elif parts[-1] == "desired":
            self._desired(parts[2], float(query.get("wait_s", ["0"])[0]))
        else:
            self._refuse(404, "not-found", f"The toy host has nothing at {path}.")

    def do_POST(self) -> None:
        """Enrolment or telemetry."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self._refused():
            return
        if self.path == routes.ENROL:
            self._enrol(body)
            return
        if self._deaf():
            return
        device = self.path.split("/")[3]
        batch = self._decoded(body, Batch, device)
        if batch is None:
            return
        with self.toy.changed:
            before = len(self.toy.items)
            for item in batch.items:
                self.toy.items[batch.device, batch.epoch, item.seq] = item
            new = len(self.toy.items) - before
            self.toy.changed.notify_all()
        last = max((item.seq for item in batch.items), default=-1)
        self._answer(BatchReply(schema=1, device=device, epoch=batch.epoch, last=last, new=new))

    def do_PUT(self) -> None:
        """Report or bundle."""
        device = self.path.split("/")[3]
        if self.path == routes.bundle_path(device):
            self._bundle(device, int(self.headers["Content-Length"]))
            return
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self._refused() or self._deaf():
            return
        report = self._decoded(body, Report, device)
        if report is None:
            return
        with self.toy.changed:
            news = self._is_news(report)
            if news:
                self.toy.reports.setdefault(device, []).append(report)
                self._overtake(report)
            self.toy.changed.notify_all()
        epoch, number = report.epoch, report.sequence
        self._answer(ReportReply(schema=1, device=device, epoch=epoch, sequence=number, news=news))

    def _bundle(self, device: str, size_bytes: int) -> None:
        if self.toy.faults.cuts_bundle():
            self.rfile.read(size_bytes // 2)
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return
        body = self.rfile.read(size_bytes)
        if self._refused() or not self._is_known(device):
            return
        try:
            reply = self.toy.bundles.take(device, self.headers.get(BUNDLE_HEADER, ""), body)
        except ContractError as error:
            self._refuse({"not-found": 404, "too-large": 413}.get(error.code, 400), error.code, error.message)
            return
        with self.toy.changed:
            self.toy.changed.notify_all()
        self._answer(reply)

    def _enrol(self, body: bytes) -> None:
        try:
            request = codec.decode_json(body, EnrolRequest, what="enrolment")
        except ContractError as error:
            self._refuse(400, error.code, error.message)
            return
        self.toy.enrolled.add(request.device)
        reply = EnrolReply(
            schema=EnrolReply.SCHEMA,
            device=request.device,
            broker=self.toy.broker,
            poll_wait_s=self.toy.poll_wait_s,
            host_version=self.toy.version,
            roots=self.toy.signing.roots,
        )
        self._answer(reply)

    def _decoded(self, body: bytes, kind: type[_Message], device: str) -> _Message | None:
        """A message of `device`; None once it was refused."""
        if not self._is_known(device):
            return None
        try:
            message = codec.decode_json(body, kind, what=kind.__name__.lower())
        except ContractError as error:
            self._refuse(400, error.code, error.message)
            return None
        if message.device != device:
            self._refuse(400, "wrong-device", "It was sent in another device's name.")
            return None
        return message

    def _is_known(self, device: str) -> bool:
        try:
            check_device_id(device)
        except ContractError as error:
            self._refuse(400, error.code, error.message)
            return False
        if device not in self.toy.enrolled:
            self._refuse(404, "not-found", f"There is no device {device!r}.")
            return False
        return True

    def _is_news(self, report: Report) -> bool:
        said = [one for one in self.toy.reports.get(report.device, ()) if one.epoch == report.epoch]
        return not said or report.sequence > said[-1].sequence

    def _overtake(self, report: Report) -> None:
        """As the control plane does for a device that has seen a higher revision than this host gave out."""
        current = self.toy.assignments.get(report.device)
        if current is None or report.revision_seen < current.revision:
            return
        if report.revision_seen == current.revision and report.assignment in ("", _digest(current)):
            return
        raised = msgspec.structs.replace(current, revision=report.revision_seen + 1)
        self.toy.assignments[report.device] = raised

    def _refused(self) -> bool:
        if self.toy.faults.down:
            self._refuse(503, "busy", "The toy host plays dead.")
            return True
        if self.headers.get("Authorization") != f"Bearer {self.toy.token}":
            self._refuse(401, "not-authorised", "The token is not this toy's.")
            return True
        return False

    def _deaf(self) -> bool:
        with self.toy.changed:
            if not self.toy.faults.deaf:
                return False
            self.toy.faults.deaf -= 1
        self._refuse(503, "busy", "The toy host plays deaf.")
        return True

    def _desired(self, device: str, wait_s: float) -> None:
        if not self._is_known(device):
            return
        held = self.headers.get(ASSIGNMENT_HEADER, "")
        known = self.headers.get("If-None-Match", "")
        heard = self.headers.get(BUNDLE_HEADER, "")
        deadline = time.monotonic() + min(wait_s, 10.0)
        self.toy.signing.hear(device, self.headers)
        with self.toy.changed:
            while True:
                assignment = self.toy.assignments.get(device)
                fresh = assignment is not None and (
                    known != f'"{assignment.revision}"' or held not in ("", _digest(assignment))
                )
                left = deadline - time.monotonic()
                bundle = self.toy.bundles.wanted.get(device, "")
                if fresh or bundle not in ("", heard) or left <= 0:
                    break
                self.toy.changed.wait(left)
        asked = {BUNDLE_HEADER: bundle} if bundle else {}
        if assignment is None or not fresh:
            self._reply(304, b"", **asked)
        else:
            body = self.toy.poll_body(assignment)
            self._reply(200, body, media=media_of(body), ETag=f'"{assignment.revision}"', **asked)

    def _blob(self, sha256: str) -> None:
        faults = self.toy.faults
        data = self.toy.blobs.get(sha256)
        if faults.status or data is None:
            self._refuse(faults.status or 404, "missing-blob", "There is no such blob.")
            return
        if sha256 in faults.tamper:
            data = bytes([data[0] ^ 1]) + data[1:]
        start, status = 0, 200
        wanted = self.headers.get("Range", "")
        if wanted and not faults.no_ranges:
            start, status = int(wanted.removeprefix("bytes=").rstrip("-")), 206
        if start >= len(data) > 0:
            self._reply(416, b"", **{"Content-Range": f"bytes */{len(data)}"})
            return
        self.send_response(status)
        self.send_header(MARK, MARK_VALUE)
        self.send_header("ETag", f'"{sha256}"')
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(len(data) - start))
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        self._stream(data[start:])

    def _stream(self, data: bytes) -> None:
        faults = self.toy.faults
        limit = len(data)
        if faults.cuts > 0 and faults.cut_at < len(data):
            limit, faults.cuts = faults.cut_at, faults.cuts - 1
            self.close_connection = True
        for offset in range(0, limit, 65536):
            if faults.delay_s:
                time.sleep(faults.delay_s)
            while faults.held:
                time.sleep(0.01)
            piece = data[offset : min(offset + 65536, limit)]
            self.toy.served_bytes += len(piece)  # before they can arrive: who has them all finds them counted
            try:
                self.wfile.write(piece)
                self.wfile.flush()
            except OSError:
                return  # the device went away, as devices do

    def _answer(self, message: msgspec.Struct) -> None:
        self._reply(200, codec.canonical_json(message))

    def _refuse(self, status: int, code: str, message: str) -> None:
        self._reply(status, codec.canonical_json(ErrorReply(message, code)))

    def _reply(self, status: int, body: bytes, *, media: str = "application/json", **headers: str) -> None:
        self.send_response(status)
        self.send_header(MARK, MARK_VALUE)
        for name, value in headers.items():
            self.send_header(name, value)
        if status != 304:
            self.send_header("Content-Type", media)
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if status != 304:
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class named it
        """Say nothing."""


def _digest(assignment: Assignment) -> str:
    return codec.digest(dump_assignment(assignment))
