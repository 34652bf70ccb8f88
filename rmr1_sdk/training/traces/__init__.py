"""Traces: judgments written by teachers, and checked."""
