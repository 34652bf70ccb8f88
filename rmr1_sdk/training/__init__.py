"""Train a judge in stages. Each is a function, a command, and a folder that can be resumed.

`data` mixes, cleans and splits pairs; `distill` lets teachers write the traces that a judge learns from, which it does
in `sft`; `grpo` lets it learn from labels alone; `export` makes files of it that anybody can judge with. A `recipe` has
all of them in one file. `tiny` is a domain in which everything can be checked, `tiny_model` a model for it.
"""
