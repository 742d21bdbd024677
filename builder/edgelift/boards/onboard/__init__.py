"""What a bundle runs on the board, as root: Python's standard library alone, on every Python that boards have.

install.sh      finds Python and hands over
__main__        the commands: install or upgrade, judge, uninstall
said            what stops it, and where things are
unpacked        the bundle's files, each held against its digest
versions        agents side by side below /opt/edgelift, and which one is current
service         systemd, and whether the agent serves what it served
"""
