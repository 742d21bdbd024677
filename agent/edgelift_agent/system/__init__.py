"""The machine underneath: disk, clock, memory, board, sockets, systemd."""
