"""Who this device is to its control plane: a key that never leaves it, and a certificate that the site's authority made."""
