"""The yardstick for `serve`: the least ASGI application that answers JSON inference, with nothing of edgelift in it.

Run as `python -m benchmarks.plain_server MODEL.onnx`; prints its port. No limits, no leases, no measuring, no checks.
"""

import asyncio
import socket
import sys
from typing import Any

import numpy as np
import onnxruntime
import orjson
import uvicorn


def application(session: onnxruntime.InferenceSession) -> Any:
    async def app(_scope: dict[str, Any], receive: Any, send: Any) -> None:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        entry = orjson.loads(body)["inputs"][0]
        x = np.array(entry["data"], dtype=np.float32).reshape(entry["shape"])
        (y,) = session.run(None, {"x": x})
        output = {"name": "y", "datatype": "FP32", "shape": list(y.shape), "data": y.ravel()}
        answer = orjson.dumps({"model_name": "cnn", "outputs": [output]}, option=orjson.OPT_SERIALIZE_NUMPY)
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(answer)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    return app


def main() -> None:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(sys.argv[1], options, ["CPUExecutionProvider"])
    config = uvicorn.Config(
        application(session), lifespan="off", log_config=None, access_log=False, http="httptools", loop="asyncio"
    )
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.bind(("127.0.0.1", 0))
    sock.listen(64)
    print(sock.getsockname()[1], flush=True)
    asyncio.run(uvicorn.Server(config).serve([sock]))


if __name__ == "__main__":
    main()
