"""The service: HTTP over the searcher."""
