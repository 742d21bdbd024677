"""The host's command: joins builder and fleet, each imported only when asked for; nothing imports it.

`cli` holds the frame (help, errors, exit codes); each group of commands has its own `*_commands` module with a
`register(app)`; whatever is heavy (torch, fastapi) is imported inside the command that needs it.
"""
