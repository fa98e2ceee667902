"""Where mail comes from: generated from a seed, or read from files and Takeout exports."""
