from phloem.shared.server.feature_flags import told


def test_the_log_says_what_each_flag_does() -> None:
    flags = {"js_ack_fc_v2": True, "js_raft_delete_range": False, "zz": True, "aa": False}
    assert told(flags) == [
        "  Feature flags:",
        "    Configured:     js_ack_fc_v2 (opt-in)",
        "    Without effect: js_raft_delete_range",
        "    Unsupported:    aa, zz",
    ]
    assert told({}) == []
    assert told({"js_ack_fc_v2": False})[1:] == ["    Configured:     js_ack_fc_v2 (opt-out)"]
