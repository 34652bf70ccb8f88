"""`python -m rmr1_sdk.cli`, for launchers that begin modules."""

from rmr1_sdk.cli import main

main()
