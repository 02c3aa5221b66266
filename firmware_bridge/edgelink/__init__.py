"""EdgeLink/1, the host's side: a link to a microcontroller that loses nothing (docs/edgelink.md). All pure."""
