"""`python -m agent` is `resumecache`."""

from agent.cli import main

main()
