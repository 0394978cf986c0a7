"""Fuzzer for all functions that read responses of a service.

`corpus` has the seed responses, `mutations` derives malformed inputs, `readers` passes each input to one function and
checks the outcome against its docstring, and `campaign` runs and counts the inputs. The test suite runs a small fixed
campaign; `python -m fuzz`, with `tests` on the path, runs a million new inputs.
"""
