"""`python -m rmr1_sdk.cli`, for launchers that begin modules."""

from rmr1_sdk.cli import main

if __name__ == "__main__":
    main()
