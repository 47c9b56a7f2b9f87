"""The version of AATS: one for the kernel and for every plugin of this repository."""

VERSION = "0.1.0"
