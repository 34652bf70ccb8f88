"""`python -m rmr1_sdk.cli`, for launchers that start modules."""

from rmr1_sdk.cli import main

if __name__ == "__main__":
    main()
