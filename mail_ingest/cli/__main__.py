"""`python -m mail_ingest.cli`: the command without its installed script."""

from mail_ingest.cli import main

main()
