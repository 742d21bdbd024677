"""The agent stays what a Raspberry Pi can carry: nothing of the host, nothing heavy before it is used."""

import os
import subprocess
import sys

HEAVY = (
    "torch",
    "onnx",
    "onnxruntime",
    "ai_edge_litert",
    "edgelift_builder",
    "edgelift_fleet",
    "fastapi",
    "sqlalchemy",
)


def loaded(module: str) -> set[str]:
    code = f"import sys, {module}; print(' '.join(m.partition('.')[0] for m in sys.modules))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_the_command_imports_neither_torch_nor_the_host() -> None:
    modules = loaded("edgelift_agent.cli")
    assert not modules & {*HEAVY, "numpy", "requests", "uvicorn", "paho"}


def test_the_whole_agent_imports_no_runtime_before_a_model_is_loaded() -> None:
    assert not loaded("edgelift_agent.app") & set(HEAVY)


def test_the_contract_is_the_standard_library_and_msgspec() -> None:
    modules = loaded("edgelift_contract.rules")
    assert not modules & {*HEAVY, "numpy", "requests", "uvicorn", "paho", "psutil", "orjson"}
