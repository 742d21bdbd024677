"""The preflight's child with the toy runtime."""

from edgelift_agent.artifact.preflight_child import main
from edgelift_agent.testing.runtime import ToyRuntime

if __name__ == "__main__":
    runtime = ToyRuntime(in_preflight=True)
    main({runtime.name: runtime})
