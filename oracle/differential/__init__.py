"""Random small checkpoints, converted by anelith and computed by transformers.

`configs` draws what a model is, `checkpoints` makes its files and what is
expected of it, `packages` converts and runs it, `figures` compares. `families`,
`positions`, `refusals`, `lossless`, `words` and `options` are the parts of the measurement,
`report` writes them down, `main` is the command.
"""
