"""Benchmarks: whole ratios measured side by side in one run. `scripts/bench NAME [--json FILE]`."""
