"""The Debian package and the tests on a machine of another kind: a bare Debian in a folder, run by qemu-user."""
