"""Processes, adapters, command line: everything that touches the outside."""
