"""The loader: what is read becomes batches, and batches become rows exactly once."""
