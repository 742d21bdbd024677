"""The parts of `scripts/bench fleet`: a server as a process, boards, rollouts, telemetry, and goosebit beside it."""
