"""`python -m hestia.cli`, for where the console script is not on the PATH."""

from hestia.cli.entry import main

main()
