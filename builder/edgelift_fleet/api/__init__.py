"""HTTP: the devices' side and the operators' side, over the same `Fleet`."""
