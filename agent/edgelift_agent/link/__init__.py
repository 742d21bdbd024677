"""The way to the host: HTTP for everything heavy and as the fallback for all, MQTT as doorbell and voice."""
