"""`python -m attncheck`, for where no script is installed."""

from attncheck.cli import main

if __name__ == "__main__":
    main(prog_name="attncheck")
