"""A fleet of simulated boards: agents' side of the contract over real HTTP and real MQTT, and no runtime.

How to read it: `profile` says which boards there are and what befalls them; `noise` draws what they measure; `board`
is what one of them holds and would say, without I/O; `taking` carries an update out; `life` is one board's whole day
over its links `http` and `mqtt`; `engine` lives thousands of those in one event loop, and `counts` what they did.
"""
