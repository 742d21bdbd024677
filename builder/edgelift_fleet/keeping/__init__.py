"""What keeps a site over the years: backups, restored sites, and blobs that nothing names any more."""
