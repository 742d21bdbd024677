"""From the source to a format, one format a file; and cleaning what the exporters leave behind."""
