"""Sources that ship: one file each, which declares ``SOURCE``."""
