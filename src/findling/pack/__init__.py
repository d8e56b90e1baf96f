"""A packed environment: Python, findling with what it needs, and models; it runs where it is unpacked."""
