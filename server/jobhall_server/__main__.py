"""`python -m jobhall_server` is `jobhall-server`."""

from jobhall_server.main import main

main()
