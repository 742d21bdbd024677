"""The inference server's short way: the same answers as uvicorn's way, whatever the connection does."""

import json
import logging
import threading

import pytest
from tests.simulators.server import GOOD, PATH, PATIENCE_S, GatedModel, Site, request
from tests.waiting import LONG_S, until

from edgelift_agent.serving.http import inference_target
from edgelift_agent.system import web
from edgelift_agent.testing.runtime import ToyModelFile


def test_both_ways_give_the_same_answer(site: Site) -> None:
    with site.connect() as client:
        client.ask(request())  # the first one finds out how quick the model is
        assert site.direct == 0
        for body, path in [(GOOD, PATH), (GOOD, "/v2/models/toy/versions/1/infer"), (b"{", PATH),
                           (GOOD, "/v2/models/toy/versions/7/infer")]:  # fmt: skip
            before = site.direct
            short = client.ask(request(body, path))
            assert site.direct == before + 1
            with site.connect() as other:
                long_way = other.ask(request(body, path, "Connection: close\r\n"))
            assert site.direct == before + 1
            assert short == long_way
        assert short[0] == 404


def test_what_is_not_plain_goes_the_long_way_and_is_answered(site: Site) -> None:
    with site.connect() as client:
        client.ask(request())
        chunked = b"%x\r\n%b\r\n0\r\n\r\n" % (len(GOOD), GOOD)
        head = f"POST {PATH} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        assert client.ask(head + chunked)[0] == 200
        assert client.ask(request(path="/v2/models/to%79/infer"))[0] == 200
        assert client.ask(request(path=f"{PATH}?x=1"))[0] == 200
        assert client.ask(request(GOOD + b" " * 5000))[0] == 413
    with site.connect() as client:
        client.send(request(extra="Expect: 100-continue\r\n")[: -len(GOOD)])
        assert (client.line(), client.line()) == ("HTTP/1.1 100 Continue", "")
        assert client.ask(GOOD)[0] == 200
    with site.connect() as client:
        assert client.ask(request(version="1.0", extra="Connection: keep-alive\r\n"))[0] == 200
        assert client.line() == ""  # a client of 1.0 would take silence for a body without end
    assert site.direct == 0


def test_requests_sent_ahead_are_answered_in_their_order(site: Site) -> None:
    bodies = [GOOD.replace(b"[1, 2", b"[%d, 2" % n) for n in range(6)]
    metadata = b"GET /v2/models/toy HTTP/1.1\r\nHost: a\r\n\r\n"
    with site.connect() as client:
        client.ask(request())
        client.send(b"".join([request(bodies[0]), request(bodies[1]), metadata, *map(request, bodies[2:])]))
        got = [client.answer()[2] for _ in range(7)]
    assert got.pop(2)["name"] == "toy"
    assert [message["outputs"][0]["data"][0] for message in got] == [0, 1, 2, 3, 4, 5]
    assert site.direct >= 2


def test_a_request_in_small_pieces_is_one_request(site: Site) -> None:
    with site.connect() as client:
        client.ask(request())
        for piece in range(0, len(request()), 7):
            client.send(request()[piece : piece + 7])
            site.looks_around()
        assert client.answer()[0] == 200
    assert site.direct == 1


def test_a_request_half_read_at_the_stop_is_still_answered(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "PAUSE_AT_STOP_S", PATIENCE_S)
    with site.connect() as client:
        client.ask(request())
        client.send(request()[:-10])
        site.looks_around()
        stopping = threading.Thread(target=site.server.stop, args=(PATIENCE_S,))
        stopping.start()
        (listener,) = site.server._web._sites[0].sockets
        until(lambda: listener.fileno() < 0)  # the stop has begun
        assert client.ask(request()[-10:])[0] == 200
        stopping.join(LONG_S)
        assert not stopping.is_alive()


def test_an_idle_connection_is_closed_and_one_in_use_is_not(site: Site) -> None:
    loop, passed_s = site.server._web._loop, 0.0
    assert loop is not None
    real = loop.time
    loop.time = lambda: real() + passed_s  # type: ignore[method-assign] # an hour is soon over

    def pass_time(seconds: float) -> None:
        nonlocal passed_s
        passed_s += seconds
        site.looks_around()

    with site.connect() as used, site.connect() as left:
        left.ask(request())
        left.ask(request())
        for _ in range(12):
            used.ask(request())
            pass_time(PATIENCE_S / 4)
        assert site.direct >= 12
        assert left.line() == ""
        assert used.ask(request())[0] == 200
        pass_time(PATIENCE_S + 60)
        assert used.line() == ""


def test_a_slow_model_does_not_hold_up_a_health_check() -> None:
    site, model = Site(inline_below_us=0.0), GatedModel()  # any model counts as slow
    try:
        site.load(ToyModelFile(), model=model)
        with site.connect() as slow, site.connect() as health:
            slow.ask(request())
            model.gate.clear()
            slow.send(request())
            until(lambda: model.runs == 2)
            health.send(b"GET /v2/health/ready HTTP/1.1\r\nHost: a\r\n\r\n")
            assert health.answer()[0] == 200
            model.gate.set()
            assert slow.answer()[0] == 200
        assert site.direct == 0
    finally:
        model.gate.set()
        site.stop()


def test_a_request_at_a_parked_slot_waits_for_the_new_model(site: Site) -> None:
    with site.connect() as client:
        client.ask(request())
        client.ask(request())
        site.slot.park()
        client.send(request())
        until(lambda: site.slot.parked_requests)
        site.load(ToyModelFile(scale=2), number=2)
        message = client.answer()[2]
    assert (message["model_version"], message["outputs"][0]["data"]) == ("2", [2, 4, 6, 8])


def test_a_fault_of_ours_is_a_500_and_is_logged(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    with site.connect() as client:
        client.ask(request())
        site.recorder.record = None  # type: ignore[assignment] # such faults should not exist; they do
        site.inference.recorder.record_error = None  # type: ignore[assignment] # as above
        with caplog.at_level(logging.ERROR):
            client.send(request())
            assert client.answer()[0] == 500
    assert "Exception in ASGI application" in caplog.text


def test_a_client_that_does_not_read_its_answers_stops_being_read(site: Site) -> None:
    """Back-pressure: else the answers would pile up in memory."""
    big = json.dumps({"id": "x" * 3000, **json.loads(GOOD)}).encode()
    with site.connect() as greedy:
        greedy.ask(request(big))
        greedy.sock.setblocking(False)
        sent, rest, full = 0, b"", 0
        while full < 3:  # looks in a row that took nothing
            rest = rest or request(big)
            try:
                taken = greedy.sock.send(rest)
            except BlockingIOError:
                full += 1
                site.looks_around()
            else:
                sent, rest, full = sent + taken, rest[taken:], 0
            assert sent < 64 << 20, "it is read without end"
        with site.connect() as other:
            assert other.ask(request())[0] == 200
    assert site.direct > 10


@pytest.mark.parametrize(
    ("path", "target"),
    [
        (b"/v2/models/m/infer", ("m", "")),
        (b"/v2/models/m/versions/3/infer", ("m", "3")),
        (b"/v1/models/m/infer", None),
        (b"/v2/models/m/infer/more", None),
        (b"/v2/models/m%2F/infer", None),
        (b"/v2/models/m/infer?x", None),
        (b"/v2/models/\xc3\xa9/infer", None),
        (b"*", None),
    ],
)
def test_paths_of_inferences(path: bytes, target: tuple[str, str] | None) -> None:
    assert inference_target(path) == target
