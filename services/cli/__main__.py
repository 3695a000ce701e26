"""``python -m services.cli``: how our processes start each other."""

from services.cli.app import main

main()
