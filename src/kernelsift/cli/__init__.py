"""The command line: read settings, call one function, print what it returned. No logic here."""
