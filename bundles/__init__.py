"""Drops in, artifacts out: reads what a training job delivered, writes what a replica loads. No Django, no engines."""
