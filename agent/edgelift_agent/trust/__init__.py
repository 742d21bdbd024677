"""Whose word counts: signed metadata of two repositories, verified by python-tuf, wherever its bytes came from."""
