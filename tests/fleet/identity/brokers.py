"""A mosquitto of the user's own, as `edgelift broker config` sets it up; and clients of brokers, by certificate."""

import signal
import socket
import ssl
import subprocess
from pathlib import Path

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode
from tests.fleet.conftest import edgelift
from tests.waiting import LONG_S, until


class OwnBroker:
    """One that runs on a folder."""

    def __init__(self, program: str, site: Path, folder: Path) -> None:
        self.site, self.folder = site, folder
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = int(probe.getsockname()[1])
        self.write("--name", "localhost", "--name", "127.0.0.1", "--host", "127.0.0.1", "--port", self.port)
        conf = folder.parent / "as-root.conf"
        conf.write_text((folder / "mosquitto.conf").read_text() + "user root\n")
        self.log = folder.parent / "own-broker.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen([program, "-v", "-c", str(conf)], stderr=log)
        until(self._listens)

    def write(self, *options: object) -> None:
        """`edgelift broker config`."""
        done = edgelift("broker", "config", self.folder, "--site", self.site, *options)
        assert done.returncode == 0, done.stderr

    def reload(self) -> None:
        self.process.send_signal(signal.SIGHUP)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(LONG_S)

    def _listens(self) -> bool:
        with socket.socket() as asked:
            return asked.connect_ex(("127.0.0.1", self.port)) == 0


class Caller:
    """A client of a broker; `words` are topics of what came."""

    def __init__(self, port: int, tls: ssl.SSLContext, name: str = "", *, will: str = "") -> None:
        self.messages: list[tuple[str, bytes]] = []
        self.granted: dict[int, list[int]] = {}
        self.acked: set[int] = set()
        self.refused = self.connected = self.gone = False
        self.client = paho.Client(CallbackAPIVersion.VERSION2, client_id=name, reconnect_on_failure=False)
        self.client.tls_set_context(tls)
        if will:
            self.client.will_set(will, b"{}", qos=1, retain=True)
        self.client.on_connect, self.client.on_disconnect = self._came, self._left
        self.client.on_message = lambda _c, _d, one: self.messages.append((one.topic, bytes(one.payload)))
        self.client.on_subscribe = lambda _c, _d, mid, codes, _p: self.granted.update(
            {mid: [c.value for c in codes]}
        )
        self.client.on_publish = lambda _c, _d, mid, *_: self.acked.add(mid)
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        until(lambda: self.connected or self.refused)

    def _came(self, _client: object, _data: object, _flags: object, reason: ReasonCode, _props: object) -> None:
        self.refused, self.connected = reason.is_failure, not reason.is_failure

    def _left(self, *_: object) -> None:
        self.gone = True
        if not self.connected:
            self.refused = True
        self.connected = False

    def subscribe(self, topic: str) -> bool:
        """Whether the broker said yes."""
        _, mid = self.client.subscribe(topic, 1)
        assert mid is not None
        until(lambda: mid in self.granted)
        return self.granted[mid][0] < 128

    def publish(self, topic: str, data: bytes = b"{}", *, retain: bool = False) -> None:
        """Publish, and wait for the broker's word, which is no promise."""
        mid = self.client.publish(topic, data, qos=1, retain=retain).mid
        until(lambda: mid in self.acked or self.gone)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


def by_certificate(file: Path | None, authorities: Path) -> ssl.SSLContext:
    """TLS with a certificate and its key in one file, or without one."""
    tls = ssl.create_default_context(cafile=str(authorities))
    tls.check_hostname = False
    if file is not None:
        tls.load_cert_chain(file)
    return tls
