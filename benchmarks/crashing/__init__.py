"""What `benchmarks/crash.py` breaks, the rig it breaks it on, and how an end state is judged."""
