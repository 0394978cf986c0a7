"""A fuzzer of everything that reads what a service sends.

`corpus` has the answers to start from, `mutations` spoils them, `readers` gives each to one function and holds the
outcome against that function's docstring, and `campaign` runs as many as are wanted and counts them. The suite runs a
few, the same ones each time; `python -m fuzz`, with `tests` on the path, runs a million new ones.
"""
