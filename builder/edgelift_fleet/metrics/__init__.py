"""The whole fleet as metrics for Prometheus.

readings   what is told, as values
ranking    which devices have series of their own: the worst
gather     reads them from the database, in sets
families   makes families of `prometheus_client` of them
exposition the text, kept for some seconds
"""
