"""Stand-ins for the world outside, shipped as supported implementations of the same ports.

- `runtime.ToyRuntime`: a runtime whose models are small JSON files; no onnxruntime needed.
- `faults.FaultyDisk`: a disk that kills the process, or fails, at a chosen operation, once or until its end.
- `host.ToyHost`: a control plane in one process, over real HTTP, that can cut, slow, tamper and refuse.
- `python -m edgelift_agent.testing.agent`: the real agent, composed with the first two.
"""
