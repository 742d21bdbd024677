"""The HTTP server below the API: sockets, connections with their bounds, uvicorn's protocol on a thread."""
