"""What a mailbox is: messages, labels, threads, drafts and the history of their changes. No HTTP in here."""
