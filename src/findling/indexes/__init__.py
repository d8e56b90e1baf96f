"""Indexes: nearest neighbours among vectors."""
