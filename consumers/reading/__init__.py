"""Steps from messages to rows: decode, judge, find duplicates; what is bad is a rejection."""
