"""The candidate search of A3, alone in its folder: a change of a kernel's folder compiles every kernel anew."""
