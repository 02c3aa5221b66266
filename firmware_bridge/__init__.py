"""Serial devices to subjects and back."""
