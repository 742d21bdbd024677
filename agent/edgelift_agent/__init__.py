"""The daemon on the device: fetches what it is assigned, proves it, swaps it in, measures it, reports.

How to read it, in the order of the data:

1. `cli` reads a `config` and `app` wires everything; nothing else builds objects.
2. `link` hears of an assignment; `worker` queues it, `update.plan` judges what it means for each slot.
3. `update.machine` is the policy of an update, as a table; `update.updates` drives it and `update.steps` does what
   each state asks, with `artifact`: fetch → verify → stage → preflight → swap (`serving.slots`) → probation (the
   contract's rule) → commit. `update.journal` writes down the state before each step acts, so a power cut at any
   point has a way on.
4. `serving` answers requests under counted leases; `telemetry` measures each one; windows wait in its outbox and
   go to the host by `link`.

Judging (`plan`, the contract's rules), deciding (`machine`, `updates`) and fetching (adapters: `link`,
`runtime`, `artifact.store`, `system`) stay apart. Third-party libraries are imported late, where needed:
an idle agent stays small.
"""
