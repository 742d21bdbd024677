"""What a variant answers and costs, by its own runtime."""
