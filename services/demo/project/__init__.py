"""The demo's project folder, as a user would write it. ``sluice demo`` runs a copy of it."""
