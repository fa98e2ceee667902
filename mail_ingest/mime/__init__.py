"""Raw bytes of one message in, a parsed message out.

Pure: no network, no files, no environment. Nothing raises because of what the bytes are; what is wrong with them
is recorded as defects.
"""

from mail_ingest.mime.defects import DEFECTS
from mail_ingest.mime.message import Address, Attachment, ParsedMessage
from mail_ingest.mime.parser import PARSER_VERSION, parse
from mail_ingest.mime.readable import html_to_text

__all__ = ["DEFECTS", "PARSER_VERSION", "Address", "Attachment", "ParsedMessage", "html_to_text", "parse"]
