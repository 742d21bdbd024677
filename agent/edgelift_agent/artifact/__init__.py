"""Artifacts on this device: fetched, kept, proved in a child process, loaded."""
