"""The only place where a base's modules change: deltas folded in, attached, or mixed in a batch.

A base is never modified. Every function returns a copy that shares all tensors it does not change.
"""
