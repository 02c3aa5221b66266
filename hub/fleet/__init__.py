"""Keys, certificates and credentials of a hub and its devices: ``phloem init``, ``enroll``, ``revoke``."""
