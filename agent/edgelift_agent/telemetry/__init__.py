"""What is measured while serving, and how it waits for the host."""
