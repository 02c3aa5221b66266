"""What the black-box tests share: servers as processes of their own, and a client that sees raw bytes."""
