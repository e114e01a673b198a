"""Thin, typed client of the recall gateway."""
