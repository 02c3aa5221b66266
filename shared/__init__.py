"""The broker engine that edge and hub both run. Imported as ``phloem.shared``."""

if __name__ == "shared":
    raise ImportError("import phloem.shared, not shared: put 'phloem.' before the path")
