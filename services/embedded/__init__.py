"""A broker and a warehouse as supervised child processes: no Docker, no account."""
