"""Sans-IO codecs: bytes to operations and back."""
