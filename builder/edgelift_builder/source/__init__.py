"""The user's trained model: what is given, how it is loaded in a child process, and whether it runs."""
