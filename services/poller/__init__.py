"""The poller: performs what ``producers.poll`` asks for, stream by stream."""
