"""The broker and what is said over it."""
