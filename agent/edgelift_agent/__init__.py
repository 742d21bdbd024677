"""The daemon on the device: fetches what it is assigned, proves it, swaps it in, measures it, reports.

How to read it, in the order of the data:

1. `cli` reads a `config` and `app` wires everything; nothing else builds objects.
2. A `transport` hears of an assignment; `worker` queues it, `plan` judges what it means for each slot.
3. `machine` is the policy of an update, as a table; `updates` drives it and `steps` does what each state asks:
   `fetch` → `verify` → `store` (stage) → `preflight` → swap (`serving.slots`) → `probation` → commit.
   `journal` writes down the state before each step acts, so a power cut at any point has a way on.
4. `serving` answers requests under counted leases; `latency` measures each one; windows go to the `outbox`
   and from there to the host.

Judging (`plan`, `probation`, the contract's rules), deciding (`machine`, `updates`) and fetching (adapters:
`transport`, `runtime`, `store`, `health`) stay apart. Third-party libraries are imported late, where needed:
an idle agent stays small.
"""
