"""Metamorphic probes: changes to a program whose effect on its scores is known beforehand.

Pure: text in, text out. Each rewriting returns None where the program offers nothing to change or
where it cannot be sure that the program still does the same.
"""
