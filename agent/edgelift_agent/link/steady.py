"""paho's client, with a thread that outlives whatever a broker sends.

paho lets what its parser, or a name that can't be resolved, raises end the thread that carries everything, without a
word to anybody: MQTT would be gone until the process ends.
"""

from __future__ import annotations

from collections.abc import Callable

from paho.mqtt.client import Client
from paho.mqtt.enums import MQTTErrorCode


class SteadyClient(Client):
    """See the module.

    Attributes:
        on_fault: given what ended paho's loop; makes a new connection ready, and says whether to go on with it.
    """

    on_fault: Callable[[Exception], bool] = staticmethod(lambda _: False)

    def loop_forever(self, timeout: float = 1.0, retry_first_connection: bool = False) -> MQTTErrorCode:
        """As paho's, and from its beginning again after a fault; it runs on the thread of `loop_start`."""
        while True:
            try:
                return super().loop_forever(timeout, retry_first_connection)
            except Exception as error:  # noqa: BLE001 - what a broker sends may end a connection, never the thread
                if not self.on_fault(error):
                    return MQTTErrorCode.MQTT_ERR_UNKNOWN
