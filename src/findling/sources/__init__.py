"""Sources: where raw records come from."""
