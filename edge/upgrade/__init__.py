"""From one version of the package to the next on a device, and back if the next one does not serve."""
