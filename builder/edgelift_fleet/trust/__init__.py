"""Who signs what: keys, the image repository, the director. No network, no database but for what `store` keeps."""
