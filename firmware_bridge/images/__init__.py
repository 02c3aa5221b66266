"""Firmware for boards out of an object store: found, checked, flashed, proven, or taken back (docs/firmware.md)."""
