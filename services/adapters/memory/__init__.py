"""Ports kept in memory, held to the same tests as the real ones."""
