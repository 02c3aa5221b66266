"""Framings: where one message of a serial line ends and the next begins."""
