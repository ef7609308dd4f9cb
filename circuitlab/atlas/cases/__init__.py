"""The worlds of the case studies, one module each: its tables and its generator of sentences.

Each holds out combinations of what it tells (`split`), so that a right answer there is computed and not remembered.
A seed decides which.
"""
