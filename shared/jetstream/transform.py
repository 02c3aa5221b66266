"""Subject transforms, which are everybody's."""

from phloem.shared.wire.transform import BadTransform as BadTransform
from phloem.shared.wire.transform import Transform as Transform
