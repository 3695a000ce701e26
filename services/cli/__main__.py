"""``python -m services.cli``: how our processes start each other."""

from services.cli import main

main()
