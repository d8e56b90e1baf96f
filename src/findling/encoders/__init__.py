"""Encoders: texts and pictures to vectors."""
