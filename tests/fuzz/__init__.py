"""Compiled code under AddressSanitizer and UBSan: random and mutated inputs, checked for crashes, leaks and nonsense.

``python -m tests.fuzz.run`` builds the modules, then feeds them; its ``--help`` names the targets. An input is a list
of Steps in a text file; what a seed and a number make is always the same input. Inputs worth keeping live in
``corpus/<target>/``.
"""
