"""The control plane: what exists, what each device should run, what it does run, and what follows from that.

The way of a release through these modules:

1. `registry` takes a builder's release folder, checks it byte by byte, and keeps its files in `blobs`.
2. `devices` knows who enrolled; `assignments` states what each should run; `changes` wakes whoever waits for it.
3. `intake` takes what devices say, by HTTP (`api/`) or MQTT (`mqtt/connection`) alike; `telemetry` keeps it.
4. `rollout/decide` is the rule, without I/O, of what a rollout does next; `rollout/controller` asks it and acts.
5. `site` is the folder in which all of it lives; `tables` are the rows and `db` opens them; `mqtt/mosquitto` is the
   site's own broker; `fleet` joins these parts and `server` is the process.

`client` speaks to a running server for the command line; `testing` has devices that misbehave on request.
Never here: torch, the builder, or anything that runs on a device.
"""
