"""The agent's sub-systems, each of which builds itself from ports: what `app` puts together."""
