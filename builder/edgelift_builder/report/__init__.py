"""What a build tells: on the terminal, as a page, as pictures and as JSON."""
