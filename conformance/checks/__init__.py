"""What anelith promises, as functions that can fail.

`harness` keeps and runs the checks, `workspace` knows the paths and runs the
binary, `oracles` wraps the independent tools. Every other module holds checks of
one subject; `main` imports them all.
"""
