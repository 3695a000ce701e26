"""What the demo's streams promise. A file whose name begins with _ declares no contract."""
