"""What an import costs: nothing that takes long, and nothing of Google's before the first call."""

import subprocess
import sys

PROGRAM = """
import sys
from mail_ingest.gmail import GmailClient, QuotaGovernor, Transport, parse_quota
GmailClient("ada@example.com", token=None, governor=QuotaGovernor(parse_quota("2026")), transport=Transport())
print(sorted({name.partition(".")[0] for name in sys.modules} & set(sys.argv[1:])))
"""


def test_importing_and_building_a_client_imports_no_google_library() -> None:
    heavy = ["googleapiclient", "google", "httplib2", "sqlalchemy", "dlt", "dagster", "requests"]

    done = subprocess.run([sys.executable, "-c", PROGRAM, *heavy], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
