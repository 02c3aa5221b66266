"""``phloem`` whose journal generations are small, so that a test of seconds goes through many of them."""

from phloem.__main__ import main
from phloem.shared.server.server import Server

Server.generation_bytes = 96 * 1024

if __name__ == "__main__":
    main()
