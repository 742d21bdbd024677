"""Parts of `scripts/bench trust`: a device that serves while trust is at work on it."""
