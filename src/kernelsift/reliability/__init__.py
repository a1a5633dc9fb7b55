"""How far scores can be trusted: agreement, calibration and corrected means.

Pure: no files, no run, no service. Modules here import numpy when they are imported; they are
imported by the commands that need them, never by `kernelsift --help`.
"""
