"""Questions about subjects and patterns, which are everybody's."""

from phloem.shared.wire.subjects import collide as collide
from phloem.shared.wire.subjects import is_literal as is_literal
from phloem.shared.wire.subjects import is_valid as is_valid
from phloem.shared.wire.subjects import matches as matches
