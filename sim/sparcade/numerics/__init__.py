"""The accelerator's arithmetic: fixed point, softmax, the LSB decision, exact to the last bit."""

from sparcade.numerics.fixed_point import FLOAT_BITS, KeyFormat, msb_plane, quantize, scale_of

__all__ = ["FLOAT_BITS", "KeyFormat", "msb_plane", "quantize", "scale_of"]
