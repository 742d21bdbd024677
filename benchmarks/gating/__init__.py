"""Simulated fleets for the gates: their requests, the tests that are compared, the cases."""
