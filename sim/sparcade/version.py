"""Versions that results carry."""

#: Release of the package.
PACKAGE_VERSION = "0.1.0"
#: Raised whenever a golden cycle count changes (tests/golden): results of equal MODEL_VERSION are comparable.
MODEL_VERSION = 6
