"""The long-running processes: gateway, poller, loader. Each imports only what it needs."""
