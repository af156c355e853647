"""Proofs of the blocks, and planted faults that the proofs must find."""
