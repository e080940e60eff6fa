"""`jobhall-server`, also as `python -m jobhall_server`: without the extra `server` it only says what is missing."""

import sys


def main() -> None:
    """The console script."""
    try:
        from jobhall_server.main import main as run
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in ("jobhall", "jobhall_server"):
            raise
        sys.exit(f"jobhall-server: the server needs {error.name}: pip install 'jobhall[server]'")
    run()


if __name__ == "__main__":
    main()
