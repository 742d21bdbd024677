"""An open-loop load: requests at fixed due times over several connections, timed from when they were due.

A closed loop would wait for a slow answer before it sends the next request and so hide the slowness
("coordinated omission"); here a late answer makes the next ones late, and is seen.
"""

import asyncio
import itertools
import json
import time
from dataclasses import dataclass, field

import numpy as np


@dataclass
class Answer:
    """One request: due and done by the wall clock, seconds; what came back."""

    due: float
    done: float
    ok: bool
    connection: int
    version: int = 0
    value: float = 0.0
    error: str = ""

    @property
    def latency_us(self) -> float:
        return (self.done - self.due) * 1e6


@dataclass
class Load:
    """What to send: `body` to `path` on `port`, `rate_hz` in all over `connections`."""

    port: int
    path: str
    body: bytes
    rate_hz: float
    connections: int = 4
    answers: list[Answer] = field(default_factory=list)

    def run(self, until: object) -> list[Answer]:
        """Send until `until.is_set()`; returns the answers."""
        asyncio.run(self._run(until))
        return self.answers

    async def _run(self, until: object) -> None:
        numbers = itertools.count()
        started = time.time() + 0.2
        await asyncio.gather(*(self._connection(n, numbers, started, until) for n in range(self.connections)))

    async def _connection(self, me: int, numbers: itertools.count, started: float, until: object) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        head = f"POST {self.path} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(self.body)}\r\n\r\n".encode()
        request = head + self.body
        while not until.is_set():  # type: ignore[attr-defined] # threading's or multiprocessing's event
            due = started + next(numbers) / self.rate_hz
            await asyncio.sleep(max(0.0, due - time.time()))
            try:
                writer.write(request)
                self.answers.append(await self._answer(reader, due, me))
            except (OSError, asyncio.IncompleteReadError) as error:
                self.answers.append(Answer(due, time.time(), False, me, error=repr(error)))
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.close()

    async def _answer(self, reader: asyncio.StreamReader, due: float, me: int) -> Answer:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.split("content-length:")[1].split("\r\n")[0])
        body = await reader.readexactly(length)
        done = time.time()
        if not head.startswith("http/1.1 200"):
            return Answer(due, done, False, me, error=f"{head.splitlines()[0]} {body[:200]!r}")
        message = json.loads(body)
        value = message["outputs"][0]["data"][0]
        return Answer(due, done, True, me, int(message["model_version"]), float(value))


def quantile_us(answers: list[Answer], q: float) -> float:
    """Quantile of the latencies, microseconds; 0 when there are none."""
    return float(np.quantile([a.latency_us for a in answers], q)) if answers else 0.0
