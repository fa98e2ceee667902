"""What dlt may log: it repeats the words of databases, and those quote the values that a load failed on, which are mail."""

from __future__ import annotations

import logging
import traceback


class WithoutMail(logging.Filter):
    """Leaves class and stack of an error, and nothing that anybody wrote; drops one notice about what is on purpose."""

    def filter(self, record: logging.LogRecord) -> bool:
        if "column hints were different" in str(record.msg):
            return False  # `json` columns arrive as Arrow strings
        if record.levelno < logging.ERROR and not record.exc_info:
            return True
        kind, stack = "", ""
        if record.exc_info and record.exc_info[0] is not None:
            kind = f" ({record.exc_info[0].__name__})"
            # its text and those of its causes quote values, their stacks do not
            stack = "\n" + "".join(traceback.format_tb(record.exc_info[2])).rstrip()
        record.msg = "dlt: %s.%s failed%s; the words of the error may quote mail, and are left out%s"
        record.args = (record.module, record.funcName, kind, stack)
        record.exc_info = record.exc_text = record.stack_info = None
        return True


def keep_mail_out() -> None:
    """Filters dlt's logger, once it is certain that there is one filter on it."""
    logger = logging.getLogger("dlt")
    if not any(isinstance(each, WithoutMail) for each in logger.filters):
        logger.addFilter(WithoutMail())
