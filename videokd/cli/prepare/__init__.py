"""``videokd prepare``, one module per command; start reading at ``prepare``.

A module has HELP, `add_arguments(parser)` and `run(args, console) -> exit code`; the two smallest
commands are in ``prepare``. Heavy imports belong inside functions, so that --help is fast and the
processes that decode videos stay small.
"""
