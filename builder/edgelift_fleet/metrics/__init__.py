"""The whole fleet as metrics for Prometheus.

readings   what is told, as values
ranking    which devices have series of their own: the worst
kept       what need not be read again
gather     reads them from the database, in sets
families   makes families of `prometheus_client` of them
lines      writes those of devices as text, of which there are many
exposition the text, kept for some seconds
"""
