"""From a source to the log: steps, loops and source plug-ins."""
