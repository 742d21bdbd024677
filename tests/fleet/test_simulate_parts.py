"""The parts of the simulation by themselves: what is drawn, and a connection whose other end misbehaves."""

import asyncio
from collections.abc import Awaitable, Callable

import numpy as np
import pytest

from edgelift_contract.histogram import Histogram
from edgelift_contract.telemetry import DeviceEvent
from edgelift_fleet.simulate.board import SimulatedBoard
from edgelift_fleet.simulate.counts import Counts
from edgelift_fleet.simulate.http import Address, HttpConnection
from edgelift_fleet.simulate.noise import Noise, draw_latencies
from edgelift_fleet.simulate.profile import BoardClass, Profile
from edgelift_fleet.simulate.telling import BoardTelling

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nEtag: "7"\r\n\r\nhi'


@pytest.mark.parametrize("median_us", [0.5, 1000.0, 3e6])
def test_latencies_are_drawn_as_they_would_be_recorded(median_us: float) -> None:
    data = draw_latencies(np.random.default_rng(1), 20_000, median_us, 0.25)
    found = Histogram.from_data(data)
    assert found.count == 20_000 and data.counts[0] and data.counts[-1]
    assert found.quantile(0.5) == pytest.approx(median_us, rel=0.05)
    assert found.quantile(0.95) == pytest.approx(median_us * np.exp(1.645 * 0.25), rel=0.06)
    assert data.low <= found.quantile(0.01) <= data.high
    assert data == draw_latencies(np.random.default_rng(1), 20_000, median_us, 0.25)


def test_window_effects_keep_their_size_and_remember_the_last() -> None:
    noise, rng = Noise(), np.random.default_rng(2)
    before = noise.first_window(rng, 20_000)
    for _ in range(30):
        last, before = before, noise.next_window(rng, before)
    assert np.std(before) == pytest.approx(noise.window_sd, rel=0.05)
    assert np.corrcoef(last, before)[0, 1] == pytest.approx(noise.window_rho, abs=0.03)
    assert isinstance(float(noise.next_window(rng, 0.1)), float)
    assert noise.common_shift(3, 5) == noise.common_shift(3, 5) != noise.common_shift(3, 6)


def asked(handler: Handler, ask: Callable[[HttpConnection], Awaitable[object]]) -> object:
    """What `ask` makes of a server that behaves like `handler`."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handler(reader, writer)
        finally:
            writer.close()

    async def main() -> object:
        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        connection = HttpConnection(Address.of(f"http://127.0.0.1:{port}", "token"), patience_s=0.5)
        try:
            return await ask(connection)
        finally:
            connection.close()
            server.close()
            await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}))

    return asyncio.run(main())


def test_a_connection_that_was_closed_while_idle_is_made_anew() -> None:
    served = []

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(OK)
        await writer.drain()

    async def twice(connection: HttpConnection) -> list[tuple[int, bytes, str]]:
        answers = []
        for _ in range(2):
            answer = await connection.ask("GET", "/x", headers=['If-None-Match: "1"'])
            answers.append((answer.status, answer.body, answer.headers["etag"]))
            await asyncio.sleep(0)
        return answers

    assert asked(once, twice) == [(200, b"hi", '"7"')] * 2
    assert len(served) == 2 and b"Authorization: Bearer token\r\n" in served[0]


@pytest.mark.parametrize(
    "answer", [b"", b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"]
)
def test_what_is_no_answer_is_a_broken_link(answer: bytes) -> None:
    async def odd(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()

    async def broken(connection: HttpConnection) -> bool:
        with pytest.raises(ConnectionError):
            await connection.ask("GET", "/x")
        return True

    assert asked(odd, broken)


def test_a_server_that_says_nothing_is_given_up() -> None:
    async def silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async def given_up(connection: HttpConnection) -> bool:
        with pytest.raises(ConnectionError, match="in time"):
            await connection.ask("GET", "/x")
        return True

    assert asked(silent, given_up)


def test_a_board_leaves_a_slow_host_alone_but_for_reports() -> None:
    kind = BoardClass(name="b")
    board = SimulatedBoard("b", kind, Profile(schema=1, classes=[kind]), seed=1, index=0)
    board.boot()
    sent: list[str] = []

    async def send(topic: str, method: str, path: str, data: bytes, *, retain: bool = False) -> None:
        await asyncio.sleep(0.05)
        sent.append(method)

    async def live() -> None:
        telling = BoardTelling(board, Counts(), send, linked=lambda: True)
        task = asyncio.create_task(telling.run())

        async def told(number: int) -> None:
            while len(sent) < number:
                await asyncio.sleep(0.001)

        def measure() -> None:
            board.note(DeviceEvent(at=1.0, kind="throttled"))
            telling.windows()

        measure()
        await told(1)
        measure()
        measure()
        telling.report()  # with it goes what was measured before
        await told(3)
        for _ in range(5):
            measure()
            await asyncio.sleep(0)
        await told(4)
        assert not board.waiting  # all five at once
        task.cancel()

    asyncio.run(live())
    assert sent == ["POST", "POST", "PUT", "POST"]
