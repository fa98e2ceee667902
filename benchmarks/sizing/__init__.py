"""What to buy for how many mailboxes: measured figures, formulas, and the page docs/sizing.md that they give."""
