"""Ports made real, one client library each."""
