"""Live board of awaited tasks: a row for each task, totals, requests and failures, on any width of terminal.

`model` takes the client's events, `view` keeps what is in sight, `layout` chooses columns, `rendering` draws with rich,
and `display` shows it all on a terminal until it is left. Only `terminal` touches the terminal's modes.
"""
