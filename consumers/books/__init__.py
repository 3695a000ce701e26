"""The books: accepted = loaded + duplicate + dead + in flight, proved from log and warehouse."""
