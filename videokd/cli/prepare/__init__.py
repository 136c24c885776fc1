"""``videokd prepare``, one module per command; start reading at ``prepare``.

A module has HELP, `add_arguments(parser)` and `run(args, console) -> exit code`. Heavy imports
belong inside `run`, so that --help is fast and the processes that decode videos stay small.
"""
