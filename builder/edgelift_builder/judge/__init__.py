"""How good an artifact is, by what its model is for. Rules only: arrays in, numbers and words out."""
