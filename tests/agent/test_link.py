"""The doorbell: what can't be read, a host that was put back, a broker that freezes; one real agent against each."""

import itertools
import os
import re
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tests.simulators.certificates import Certificate, make_certificate
from tests.simulators.device import Device, free_port
from tests.simulators.proxy import HTML
from tests.waiting import LONG_S
from tests.waiting import until as wait

from edgelift_agent.link import bounded
from edgelift_agent.link.http import HttpTransport
from edgelift_agent.testing.host import ToyHost
from edgelift_agent.testing.runtime import ToyModelFile
from edgelift_contract import routes
from edgelift_contract.assignment import Assignment, dump_assignment
from edgelift_contract.enrol import BrokerAccess
from edgelift_contract.errors import TransportError
from edgelift_contract.replies import MARK, MARK_VALUE


class Broker:
    """A mosquitto that lets anyone in."""

    def __init__(self, program: str, folder: Path, tls: Certificate | None = None) -> None:
        self.port = free_port()
        config = folder / "mosquitto.conf"
        files = f"certfile {tls.path}\nkeyfile {tls.key}\nuser root\n" if tls else ""
        config.write_text(f"listener {self.port} 127.0.0.1\nallow_anonymous true\n{files}")
        self.process = subprocess.Popen(
            [program, "-c", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait(self._listens)
        self.access = BrokerAccess("127.0.0.1", self.port, tls=tls is not None)

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def publish(self, topic: str, payload: bytes) -> None:
        import paho.mqtt.client as paho
        from paho.mqtt.enums import CallbackAPIVersion

        client = paho.Client(CallbackAPIVersion.VERSION2)
        client.connect("127.0.0.1", self.port)
        client.loop_start()
        client.publish(topic, payload, 1, retain=True).wait_for_publish(LONG_S)
        client.disconnect()
        client.loop_stop()

    def close(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait()


@pytest.fixture
def broker(mosquitto_program: str, tmp_path: Path) -> Iterator[Broker]:
    made = Broker(mosquitto_program, tmp_path)
    yield made
    made.close()


def configure(device: Device, **host: object) -> None:
    lines = "".join(f"{name} = {value!r}\n" for name, value in host.items()).replace("'", '"')
    device.config.write_text(device.config.read_text().replace("[serve]", f"{lines}[serve]"))


def lines_of(device: Device, text: str) -> int:
    return sum(text in line for line in device.log.read_text().splitlines())


def serves(host: ToyHost, version: str):
    return host.wait_for("pi-1", lambda r: "toy" in r.slots and r.slots["toy"].version == version)


def test_an_assignment_that_cannot_be_read_is_a_failed_try(host: ToyHost, device: Device) -> None:
    asked: list[float] = []
    honest = host.poll_body

    def html(assignment) -> bytes:
        asked.append(time.monotonic())
        return HTML

    host.poll_body = html
    host.assign("pi-1", toy=host.publish("1", ToyModelFile()))
    device.config.write_text(device.config.read_text().replace("retry_cap_s = 0.5", "retry_cap_s = 60.0"))
    device.start()
    wait(lambda: len(asked) >= 5)
    # Each wait is at least half of the doubled one before it; the host answers at once, so that is all there is.
    gaps = [later - earlier for earlier, later in itertools.pairwise(asked)]
    assert gaps[3] >= 0.4 and gaps[2] >= 0.2, gaps
    assert lines_of(device, "code=malformed") <= len(asked)
    host.poll_body = honest
    serves(host, "1")


def test_an_unreadable_retained_message_is_a_failed_try_and_http_brings_the_right_one(
    host: ToyHost, device: Device, broker: Broker
) -> None:
    host.broker = broker.access
    broker.publish(routes.desired_topic("pi-1"), HTML)
    configure(device, poll_interval_s=3600.0)
    device.start()
    wait(lambda: device.status()["transport"] == "mqtt")
    wait(lambda: lines_of(device, "code=malformed") == 1)
    wait(
        lambda: lines_of(device, "the host is there again") == 1
    )  # what was wrong is over: only a message wakes it
    host.assign("pi-1", toy=host.publish("1", ToyModelFile()))
    broker.publish(routes.desired_topic("pi-1"), HTML * 4)
    wait(lambda: device.answer() == 1)  # the poll interval is an hour: what could not be read woke the doorbell
    assert lines_of(device, "code=malformed") + lines_of(device, "code=too-large") == 2


def test_a_start_at_which_nothing_is_wrong_warns_of_nothing(host: ToyHost, tmp_path: Path) -> None:
    away = Device(tmp_path / "away", f"http://127.0.0.1:{free_port()}", host.token).start()
    try:
        wait(lambda: lines_of(away, "uplink code=unreachable") > 0)
        told = [line for line in away.log.read_text().splitlines() if "uplink code=unreachable" in line]
        assert all("INFO" in line for line in told), told  # the link itself warns, with the reason
    finally:
        away.stop()
    device = Device(tmp_path / "device", host.url, host.token).start()
    try:
        host.wait_for("pi-1", lambda _: True)
        assert not re.search("WARNING|ERROR", device.log.read_text()), device.log.read_text()
    finally:
        device.stop()


@pytest.mark.parametrize("trusted", [True, False])
def test_a_broker_over_tls_is_used_when_the_system_trusts_it(
    host: ToyHost,
    device: Device,
    mosquitto_program: str,
    tmp_path: Path,
    trusted: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = make_certificate(tmp_path / "certificate")
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(made.path))
    with closing(Broker(mosquitto_program, tmp_path, made)) as broker:
        host.broker = broker.access
        device.start()
        if trusted:
            wait(lambda: device.status()["transport"] == "mqtt")
        else:
            wait(lambda: lines_of(device, "broker code=tls-failed") > 0)
            assert device.status()["transport"] == "http"
        host.assign("pi-1", toy=host.publish("1", ToyModelFile()))
        wait(lambda: device.answer() == 1)  # brought by HTTP, where the broker is not believed


def test_a_host_put_back_to_an_older_state_is_told_and_counts_beyond_it(host: ToyHost, device: Device) -> None:
    device.start()
    # Neither is older than the other: going back is not refused, however long each has served.
    one, two = (host.publish(v, ToyModelFile(scale=int(v)), counter=1) for v in "12")
    host.assign("pi-1", toy=one)
    serves(host, "1")
    backup = host.assignments["pi-1"]
    asked: list[float] = []
    honest = host.poll_body

    def noted(assignment: Assignment) -> bytes:
        if assignment is backup:
            asked.append(time.monotonic())
        return honest(assignment)

    host.poll_body = noted
    for wanted in (two, one, two):
        host.assign("pi-1", toy=wanted)
        serves(host, wanted.version)
    with host.changed:  # revision 1 instead of 4
        host.assignments["pi-1"] = backup
        host.changed.notify_all()
    serves(host, "1")
    assert host.assignments["pi-1"].revision == 5
    host.wait_for("pi-1", lambda r: r.revision_applied == 5)
    # Until its report has come it may ask again, each time after longer, and says so once for each answer.
    assert 1 <= lines_of(device, "code=older-assignment") <= len(asked)
    gaps = [later - earlier for earlier, later in itertools.pairwise(asked)]
    assert all(gap >= least for gap, least in zip(gaps, [0.05, 0.1, 0.2, *[0.25] * len(gaps)], strict=False)), gaps


def test_the_same_number_for_another_assignment_is_noticed(host: ToyHost, device: Device) -> None:
    device.start()
    one, two = (host.publish(v, ToyModelFile(scale=int(v))) for v in "12")
    host.assign("pi-1", toy=one)
    host.assign("pi-1", toy=one)
    host.wait_for("pi-1", lambda r: r.revision_applied == 2)
    with host.changed:  # at once, or the device might ask in between
        del host.assignments["pi-1"]
        host.assign("pi-1", toy=two)
        host.assign("pi-1", toy=two)  # revision 2 again, and another one
    serves(host, "2")
    assert host.assignments["pi-1"].revision == 3


def test_a_frozen_broker_is_noticed_and_http_asked_at_once(host: ToyHost, device: Device, broker: Broker) -> None:
    host.broker = broker.access
    configure(device, poll_interval_s=3600.0, mqtt_keepalive_s=1, timeout_s=3.0)
    host.assign("pi-1", toy=host.publish("1", ToyModelFile()))
    broker.publish(routes.desired_topic("pi-1"), dump_assignment(host.assignments["pi-1"]))
    device.start()
    wait(lambda: device.answer() == 1)
    wait(lambda: device.status()["transport"] == "mqtt")
    os.kill(broker.process.pid, signal.SIGSTOP)
    host.assign("pi-1", toy=host.publish("2", ToyModelFile(scale=2)))
    wait(lambda: device.answer() == 2)
    serves(host, "2")  # and the report came by HTTP
    os.kill(broker.process.pid, signal.SIGCONT)
    # The longer it was gone, the later the next try: after five minutes at most.
    wait(lambda: device.status()["transport"] == "mqtt", timeout_s=400)


@pytest.mark.parametrize(
    ("url", "code", "cause"),
    [
        ("http://no-such-host.invalid", "name-unresolved", "its name is not known"),
        ("http://no..such-host", "name-unresolved", "its name can't be one"),
        ("http://127.0.0.1:{deaf}", "unreachable", "the connection was refused"),
        ("http://127.0.0.1:{silent}", "timed-out", "no bytes came"),
        ("https://127.0.0.1:{plain}", "tls-failed", "TLS failed"),
        ("https://127.0.0.1:{tls}", "tls-failed", "its certificate is not trusted"),
    ],
)
def test_the_cause_of_a_failed_connection_stands_in_its_sentence(
    host: ToyHost, tls_port: int, url: str, code: str, cause: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))  # taken, and nobody listens
        ports = {
            "deaf": deaf.getsockname()[1], "silent": silent.getsockname()[1], "plain": host.port, "tls": tls_port
        }  # fmt: skip
        timeout_s = 3 if code == "timed-out" else LONG_S
        with pytest.raises(TransportError) as caught:
            HttpTransport(url.format(**ports), "t", "pi-1", timeout_s=timeout_s).poll(None, 0.0)
    assert caught.value.code == code
    assert cause in caught.value.message


def test_answers_that_only_announce_another_are_passed_over() -> None:
    announced = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n" * 4
    final = f"HTTP/1.1 304 Not Modified\r\n{MARK}: {MARK_VALUE}\r\n\r\n".encode()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                while b"\r\n\r\n" not in connection.recv(65536):
                    pass
                connection.sendall(announced + final)

        threading.Thread(target=serve, daemon=True).start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        assert HttpTransport(url, "t", "pi-1", timeout_s=LONG_S).poll(1, 0.0) is None


@pytest.fixture
def tls_port(tmp_path: Path) -> Iterator[int]:
    """A TLS server with a certificate that nobody trusts."""
    made = make_certificate(tmp_path)
    import http.server
    import threading

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.path, made.key)

    class Quiet(http.server.ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            """Its clients don't trust it."""

    server = Quiet(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


def test_whole_fetches_that_came_out_wrong_are_counted_over_restarts(host: ToyHost, device: Device) -> None:
    wanted = host.publish("1", ToyModelFile())
    host.faults.tamper.add(wanted.artifact)
    text = device.config.read_text().replace("retry_first_s = 0.1", "retry_first_s = 3600.0")
    device.config.write_text(text.replace("retry_cap_s = 0.5", "retry_cap_s = 3600.0"))
    host.assign("pi-1", toy=wanted)
    for tries in (1, 2):
        device.start()
        wait(lambda tries=tries: lines_of(device, "phase=fetching code=digest-mismatch") == tries)
        device.status()  # answered by the thread that says so and then notes it: it is noted now
        device.stop(signal.SIGKILL)
    device.start()
    host.wait_for("pi-1", lambda r: "toy" in r.slots and r.slots["toy"].update.outcome == "refused")
    assert host.last("pi-1").slots["toy"].update.code == "digest-mismatch"


def test_an_alarm_that_fails_keeps_no_other_from_ringing() -> None:
    rung = threading.Event()

    def fails() -> None:
        raise MemoryError

    bounded.alarm().set(fails, 0.0)
    bounded.alarm().set(rung.set, 0.05)
    assert rung.wait(LONG_S)
