"""Copies of one id: which of them say the same, and which do not."""
