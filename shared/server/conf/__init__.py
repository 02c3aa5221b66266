"""The grammar of nats-server's configuration files: text to values, without knowing any option."""

from phloem.shared.server.conf.digest import config_digest
from phloem.shared.server.conf.parser import Value, from_plain, parse_file, parse_text

__all__ = ["Value", "config_digest", "from_plain", "parse_file", "parse_text"]
