"""What is carried to a board that has nothing yet: the agent, the packages that it needs, and how they are put there.

pins          which packages, of which version and digest, for which Python
wheels        fetched for another machine than this one
agent_wheel   the agent as it is installed here
bundle        one file of all of it, with the board's configuration and token
onboard/      what runs on the board: Python's standard library alone
"""
