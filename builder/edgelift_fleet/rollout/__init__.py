"""Rollouts: what to do next as a pure rule, what devices showed, and the one writer that acts."""
