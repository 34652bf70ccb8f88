"""From preference data to a judge, in stages. Each is a function, a command, and a folder that can be resumed.

`data` mixes, cleans and splits pairs; `distill` lets teachers write the traces that a judge learns from. `tiny` is a
domain in which everything can be checked.
"""
