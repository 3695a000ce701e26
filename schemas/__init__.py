"""Contracts and the values that cross a boundary."""
