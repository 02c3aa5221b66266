"""The twin of this device: what it shares with its hub. The decisions are in ``shared/twin``, this carries them out."""
