"""A simulated board's whole day: it enrols, listens, takes updates, tells what it measured, breaks off and comes back.

Two links: HTTP for enrolment, blobs and polls, and for all else where there is no broker; MQTT for the rest. What the
host has not confirmed is kept and sent again over the next connection. Every wait after a failure is drawn at random
below a bound that doubles, so that a fleet that lost its broker does not knock in step.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from edgelift_contract import codec, routes
from edgelift_contract.assignment import parse_assignment
from edgelift_contract.bundle import BUNDLE_HEADER
from edgelift_contract.enrol import BrokerAccess
from edgelift_contract.errors import ContractError
from edgelift_contract.replies import ASSIGNMENT_HEADER, EPOCH_HEADER
from edgelift_contract.signed import NONCE_HEADER
from edgelift_fleet.simulate.backoff import Backoff
from edgelift_fleet.simulate.board import SimulatedBoard
from edgelift_fleet.simulate.bundles import BoardBundles
from edgelift_fleet.simulate.calls import Refused, call
from edgelift_fleet.simulate.converging import Converging
from edgelift_fleet.simulate.counts import Counts
from edgelift_fleet.simulate.ending import ended
from edgelift_fleet.simulate.http import Address, HttpAnswer, HttpConnection
from edgelift_fleet.simulate.introducing import Introducing
from edgelift_fleet.simulate.mqtt import MqttLink
from edgelift_fleet.simulate.telling import BoardTelling

#: After so many connections in a row that the broker did not take, the board enrols again: it may have moved.
_ENROL_AGAIN = 3
#: How long a good-bye may take, seconds.
_GOOD_BYE_S = 10.0


class Life:
    """One board in the running event loop.

    Attributes:
        on, cut_off: has it power; is its link gone.
        linked: the host can hear it now.
        kept_out: the code that its last try to get in ended with; empty once the host has let it in.
        told: called with each assignment that is news to the board.
    """

    def __init__(
        self, board: SimulatedBoard, address: Address, counts: Counts, *, told: Callable[[Life], None]
    ) -> None:
        self.board, self.told = board, told
        self.on = self.linked = self.cut_off = False
        self.kept_out = "timed-out"
        self._counts = counts
        self._who = Introducing(board, address)
        self._mqtt: MqttLink | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._poll_wait_s = 30.0
        self._rung = asyncio.Event()
        self._hearing = Backoff(board)
        self._dying: asyncio.Task[None] | None = None
        self._reports = BoardTelling(board, counts, self._send, linked=lambda: self.linked)
        self._converging = Converging(
            board, counts, blob=self._blob, changed=self._reports.report, ended=self._ended, die=self._die
        )
        self._bundles = BoardBundles(board, self._bring)

    # --- on, off, cut

    def switch_on(self) -> None:
        """Boot: a new epoch, and everything from the start."""
        self.board.boot()
        self.on = True
        self._reports.report()
        parts = (self._listen, self._reports.run, self._converging.run)
        self._tasks = [asyncio.create_task(part()) for part in parts]

    async def switch_off(self, *, kindly: bool) -> None:
        """End; `kindly` with a good-bye, else as when the power goes."""
        self.on = False
        await ended([*self._tasks, *self._converging.tasks])
        self._converging.interrupted()
        self._tasks = []
        if kindly and self.linked:
            with suppress(OSError, asyncio.TimeoutError):
                await asyncio.wait_for(self._say_good_bye(), _GOOD_BYE_S)
        self._drop_links()

    async def _say_good_bye(self) -> None:
        """Tell what was measured so far, and leave the broker without a will."""
        self.board.close_windows()
        self._ended()
        await self._reports.all_that_is_due()
        if self._mqtt is not None:
            topic = routes.state_topic(self.board.name)
            await self._mqtt.publish(topic, self.board.presence(online=False), retain=True)
            self._mqtt.disconnect()

    def cut(self) -> None:
        """The link goes; the board serves on, and takes no notice but of that."""
        self.cut_off = True
        self._drop_links()

    def mend(self) -> None:
        """The link is back."""
        self.cut_off = False

    def publish_windows(self) -> None:
        """Send what was measured so far, as a board does from time to time."""
        if self.board.waiting:
            self._reports.windows()

    def _drop_links(self) -> None:
        self.linked = False
        self._who.asking.close()
        self._who.telling.close()
        if self._mqtt is not None:
            self._mqtt.cut()
            self._mqtt = None

    # --- hearing

    async def _listen(self) -> None:
        while True:
            try:
                await self._wait_uncut()
                access = await self._enrol()
                if access is not None and self.board.kind.transport == "mqtt":
                    await self._by_mqtt(access)
                else:
                    await self._by_polls()
            except OSError as error:
                self._not_in("unreachable")
                await self._broke(error, self._hearing)
            except Refused as error:  # as by a host that lost its devices: introduce yourself again
                self._not_in(error.code)
                self._refused(error)
                await self._hearing.wait()

    def _not_in(self, code: str) -> None:
        if self.kept_out:
            self.kept_out = code

    async def _enrol(self) -> BrokerAccess | None:
        reply = await self._who.introduce(partial(self._call, self._who.asking, "POST", routes.ENROL))
        self._poll_wait_s = reply.poll_wait_s
        self.board.trust.learn(reply.roots)
        self._counts.enrolled += 1
        self.kept_out = ""
        return reply.broker

    async def _by_polls(self) -> None:
        self._now_linked()
        while True:
            try:
                await self._wait_uncut()
                if not self.linked:
                    await self._poll(0)
                    self._now_linked()
                if await self._poll(self._poll_wait_s):
                    self._hearing.reset()
                else:
                    await self._hearing.wait()
            except OSError as error:
                self.linked = False
                await self._broke(error, self._hearing)

    async def _poll(self, wait_s: float) -> bool:
        """Ask once; False when what it says is refused, or the host counts lower than this board has seen, of which it is
        told: it is asked again after a while.
        """
        board = self.board
        path = routes.desired_path(board.name) + (f"?wait_s={wait_s:g}" if wait_s else "")
        headers = [f'If-None-Match: "{board.revision}"']
        if board.held:
            headers.append(f"{ASSIGNMENT_HEADER}: {board.held}")
        if board.trust.nonce:
            headers.append(f"{NONCE_HEADER}: {board.trust.nonce}")
        if self._bundles.heard:
            headers.append(f"{BUNDLE_HEADER}: {self._bundles.heard}")
        answer = await self._call(self._who.asking, "GET", path, headers=headers, wait_s=wait_s)
        self._counts.polls += 1
        self._bundles.asked(answer.headers.get(BUNDLE_HEADER.lower(), ""))
        return answer.status != 200 or self._take(answer.body)

    async def _by_mqtt(self, access: BrokerAccess) -> None:
        """Connected again and again, until the broker takes us no more."""
        refusals = 0
        while refusals < _ENROL_AGAIN:
            await self._wait_uncut()
            try:
                link = await self._connect(access)
            except OSError as error:
                refusals += 1
                await self._broke(error, self._hearing)
                continue
            refusals = 0
            self._mqtt = link
            self._now_linked()
            try:
                await self._while_connected(link)
            finally:
                link.cut()
                self._mqtt, self.linked = None, False
            self._counts.reconnects += 1
            if not self.cut_off:
                await self._broke(ConnectionError("the broker's connection ended"), self._hearing)

    async def _connect(self, access: BrokerAccess) -> MqttLink:
        board = self.board
        board.connects += 1
        topic = routes.state_topic(board.name)
        will = topic, board.presence(online=False)
        link = MqttLink(access, board.name, will=will, on_message=self._heard, tls=self._who.tls)
        await link.connect()
        try:
            link.subscribe(routes.desired_topic(board.name), routes.bundle_topic(board.name))
            await link.publish(topic, board.presence(online=True), retain=True)
        except BaseException:
            link.cut()
            raise
        return link

    async def _while_connected(self, link: MqttLink) -> None:
        poll_s = self.board.profile.poll_s
        while not link.lost.is_set():
            if await self._is_lost(link, poll_s * (0.5 + float(self.board.rng.random()))):
                return
            self._rung.clear()
            self._hearing.reset()
            try:
                await self._poll(0)  # a bell that was lost costs one poll
            except OSError as error:
                self._counts.note(self.board.name, error)  # and a poll that was lost nothing more
            except Refused:
                link.cut()
                raise

    async def _is_lost(self, link: MqttLink, wait_s: float) -> bool:
        """Wait until the connection ends, a bell rings or the time is over; has it ended?"""
        waits = [asyncio.ensure_future(one.wait()) for one in (link.lost, self._rung)]
        try:
            await asyncio.wait(waits, timeout=wait_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waits:
                one.cancel()
        return link.lost.is_set()

    def _now_linked(self) -> None:
        self.linked = True
        self._reports.report()  # the whole state again, so that any loss corrects itself

    def _heard(self, topic: str, data: bytes) -> None:
        if topic == routes.bundle_topic(self.board.name):
            self._bundles.told(data)
        elif not self._take(data):
            self._rung.set()  # what a broker retains unsigned, or signed for another nonce, is a bell: HTTP has the letter

    def _take(self, data: bytes) -> bool:
        """Hear of an assignment; False for one that is refused, or older than what this board has seen (the host was put
        back to a backup).
        """
        if not data:
            return True
        try:
            data = self.board.trust.open(data, self.board.name)
            assignment = parse_assignment(data, device=self.board.name)
        except ContractError as error:
            self._counts.refused[error.code] += 1
            return False
        held = codec.digest(data)
        if held == self.board.held:
            return True
        if assignment.revision < self.board.revision or (
            assignment.revision == self.board.revision and self.board.held
        ):
            self._reports.report()  # it says what it has seen
            return False
        self.board.revision, self.board.held = assignment.revision, held
        self._counts.assignments += 1
        self.told(self)
        self._converging.want(assignment)
        return True

    # --- what befalls its updates

    def _ended(self) -> None:
        self._reports.windows()  # what a verdict was made of is told with it
        self._reports.report()

    def _die(self, back_s: float) -> None:
        # A task of its own: what is cancelled here includes the one that asked for it.
        self._dying = asyncio.create_task(self._off_and_on(back_s))

    async def _off_and_on(self, back_s: float) -> None:
        await self.switch_off(kindly=False)
        if back_s:
            await asyncio.sleep(back_s / self.board.profile.time_scale)
            self.switch_on()

    async def _blob(self, sha256: str) -> bytes:
        return (await self._call(self._who.telling, "GET", routes.blob_path(sha256))).body

    async def _bring(self, bundle: str, data: bytes) -> None:
        headers = [f"{BUNDLE_HEADER}: {bundle}"]
        await self._call(self._who.telling, "PUT", routes.bundle_path(self.board.name), data, headers=headers)

    async def _send(self, topic: str, method: str, path: str, data: bytes, *, retain: bool = False) -> None:
        if self.cut_off:
            raise ConnectionError("the link is gone")
        if self._mqtt is not None:
            await self._mqtt.publish(topic, data, retain=retain)
        else:
            await self._call(self._who.telling, method, path, data)

    # --- links

    async def _call(
        self, connection: HttpConnection, method: str, path: str, body: bytes = b"", *,
        headers: list[str] | None = None, wait_s: float = 0.0,
    ) -> HttpAnswer:  # fmt: skip
        if self.cut_off:
            raise ConnectionError("the link is gone")
        own = [f"{EPOCH_HEADER}: {self.board.epoch}", *(headers or ())]
        return await call(connection, method, path, body, own, wait_s=wait_s)

    async def _wait_uncut(self) -> None:
        while self.cut_off:
            await asyncio.sleep(0.2)

    async def _broke(self, error: Exception, backoff: Backoff) -> None:
        self._counts.note(self.board.name, error)
        await backoff.wait()

    def _refused(self, error: Refused) -> None:
        self._counts.refused[error.code] += 1
