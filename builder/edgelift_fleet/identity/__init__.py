"""Who everybody is: the site's own authority, the certificates of its devices, and the tokens by which they first come."""
