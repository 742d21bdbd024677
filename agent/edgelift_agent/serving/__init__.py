"""Answering requests: slots with counted leases, and the Open Inference Protocol over HTTP in front of them."""
