"""Stores: rows to documents."""
