"""Fuzzing of what reads bytes from strangers: mail, and the answers of servers."""
