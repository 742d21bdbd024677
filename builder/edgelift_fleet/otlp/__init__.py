"""Traces and metrics for receivers of OTLP, by opentelemetry's own SDK: an extra, imported where a site asks for it alone.

configured what is sent from this server, as its site's file and its environment say
sending    sends, on a thread of its own, while this server leads
exporters  opentelemetry's exporters, and what became of what they sent
spans      an update as spans
points     families of metrics as opentelemetry's data
placing    when each part of an update was, by the host's clock
"""
