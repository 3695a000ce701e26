"""From the log to the warehouse: steps and loops."""
