"""A device that runs itself: its services, what installs them, and what looks whether all is well."""
