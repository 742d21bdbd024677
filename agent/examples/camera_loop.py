"""A camera-like loop with the agent inside: frames at a fixed rate, the model updated under it without a gap.

    python agent/examples/camera_loop.py /etc/edgelift/agent.toml detector --fps 20 --seconds 60

The "camera" makes frames of noise in the shape that the model takes; put your own in its place. Ctrl-C ends it sooner.
"""

import argparse
import contextlib
import time

import numpy as np

from edgelift_agent.embedded import embedded


def frame(shape: list[int], rng: np.random.Generator) -> np.ndarray:
    """One frame, batch 1."""
    return rng.random([1 if n == -1 else n for n in shape], dtype=np.float32)


def main() -> None:
    """Run the loop and say how often each generation answered."""
    parser = argparse.ArgumentParser()
    parser.add_argument("config")
    parser.add_argument("slot")
    parser.add_argument("--fps", type=float, default=20.0)
    parser.add_argument("--seconds", type=float, default=10.0)
    parsed = parser.parse_args()
    rng = np.random.default_rng(0)
    answered: dict[int, int] = {}
    with embedded(parsed.config) as models:
        slot = models.slot(parsed.slot)
        slot.wait(timeout_s=600)
        until, due = time.monotonic() + parsed.seconds, time.monotonic()
        with contextlib.suppress(KeyboardInterrupt):
            while due < until:
                with slot.lease() as model:
                    spec = model.manifest.inputs[0]
                    model.run({spec.name: frame(spec.shape, rng)})
                    answered[model.generation] = answered.get(model.generation, 0) + 1
                due += 1 / parsed.fps
                time.sleep(max(0.0, due - time.monotonic()))
    for generation, count in answered.items():
        print(f"generation {generation}: {count} frames")


if __name__ == "__main__":
    main()
