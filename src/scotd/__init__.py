"""Symbolic Chain-of-Thought Distillation: a big teacher's chains of thought make a small student reason."""

__version__ = "0.1.0"
