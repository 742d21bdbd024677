"""Making a model smaller and faster, one way a file."""
