"""The text format of Prometheus, 0.0.4: a metric is what it is, of which type, and its samples."""

from collections.abc import Iterable

from phloem.shared.server.monitor.render import number

Labels = dict[str, str]
Samples = Iterable[tuple[Labels, float]]
_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})


def family(name: str, kind: str, about: str, samples: Samples) -> str:
    """One metric: what it is, then its values."""
    lines = [f"# HELP phloem_{name} {about}", f"# TYPE phloem_{name} {kind}"]
    for labels, value in samples:
        shown = ",".join(f'{label}="{text.translate(_ESCAPES)}"' for label, text in labels.items())
        braces = f"{{{shown}}}" if shown else ""
        lines.append(f"phloem_{name}{braces} {number(value)}")
    return "\n".join(lines) + "\n"


def one(name: str, kind: str, about: str, value: float) -> str:
    """A metric with a single value."""
    return family(name, kind, about, [({}, value)])
