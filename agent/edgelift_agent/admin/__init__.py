"""The administrator's side of the agent: its server (`server`), and how to ask it (`ask`)."""

from edgelift_agent.admin.asking import ask

__all__ = ["ask"]
