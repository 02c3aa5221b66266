"""A port that other programs may use while the bridge has it open."""
