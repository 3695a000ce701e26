"""Whether a process lives, is ready and advances, told over HTTP on a port of its own."""
