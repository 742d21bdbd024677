"""The console: pages of the control plane for people, at `/` of the server that answers the API."""
