"""Clouds that run a build as a job: one module for each, with its client library imported only there."""
