"""Engines: where the batch half runs."""
