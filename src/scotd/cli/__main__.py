"""`python -m scotd.cli` is the command too, where the script is not on the path."""

from scotd.cli import main

if __name__ == "__main__":
    main()
