"""INFO and CONNECT of a leaf link as bytes, those of real servers and ours."""

import pytest

from phloem.shared.errors import MalformedJSON
from phloem.shared.wire.leaf import (
    LeafConnect,
    LeafInfo,
    SubjectRules,
    decode_leaf_connect,
    decode_leaf_info,
    encode_leaf_connect,
    encode_leaf_info,
)

# wire 5.1
HUB_INFO = (
    b'{"server_id":"NA","server_name":"HUB","version":"2.15.1","proto":3,"git_commit":"b2fd3ef","go":"go1.27.2",'
    b'"host":"127.0.0.1","port":20011,"headers":true,"auth_required":true,"max_payload":1048576,'
    b'"ip":"127.0.0.1:20011","client_id":5,"nonce":"symLODPYsrDT5dc","compression":"off","api_lvl":5,'
    b'"info_on_connect":true,"leafnode_urls":["127.0.0.1:20011"]} '
)
LEAF_CONNECT = (
    b'{"version":"2.15.1","server_id":"NB","name":"LEAF","cluster":"LEAF","headers":true,"compress_mode":"off",'
    b'"remote_account":"$G","protocol":3}'
)


def test_a_real_hubs_info() -> None:
    info = decode_leaf_info(HUB_INFO)
    assert (info.server_id, info.server_name, info.client_id) == ("NA", "HUB", 5)
    assert (info.max_payload, info.headers, info.info_on_connect) == (1048576, True, True)
    assert info.leafnode_urls == ("127.0.0.1:20011",)
    assert (info.connect_info, info.import_, info.export) == (False, None, None)


def test_a_real_leafs_connect() -> None:
    connect = decode_leaf_connect(LEAF_CONNECT)
    assert (connect.name, connect.cluster, connect.remote_account) == ("LEAF", "LEAF", "$G")
    assert (connect.protocol, connect.headers, connect.is_hub) == (3, True, False)


def test_permissions_in_info() -> None:
    info = decode_leaf_info(
        b'{"connect_info":true,"import":{"allow":["a.>"],"deny":null},"export":{"deny":["b"]}}'
    )
    assert info.import_ == SubjectRules(allow=("a.>",))
    assert info.export == SubjectRules(deny=("b",))


def test_missing_urls_and_no_urls_are_different() -> None:
    assert decode_leaf_info(b"{}").leafnode_urls is None
    assert decode_leaf_info(b'{"leafnode_urls":null}').leafnode_urls is None
    assert decode_leaf_info(b'{"leafnode_urls":[]}').leafnode_urls == ()
    assert b'"leafnode_urls":[]' in encode_leaf_info(LeafInfo(leafnode_urls=()))


@pytest.mark.parametrize("key", ["name", "NAME", "Name"])
def test_keys_match_in_any_case(key: str) -> None:
    assert decode_leaf_connect(f'{{"{key}":"L","other":[1]}}'.encode()).name == "L"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"x",
        b"[]",
        b'"name"',
        b'{"name":5}',
        b'{"headers":1}',
        b'{"is_hub":"true"}',
        b'{"deny_pub":"a"}',
        b'{"deny_pub":[1]}',
        b'{"protocol":"3"}',
        b"[" * 60000,
    ],
)
def test_connect_of_a_wrong_kind(body: bytes) -> None:
    with pytest.raises(MalformedJSON):
        decode_leaf_connect(body)


@pytest.mark.parametrize(
    "body", [b'{"port":"4222"}', b'{"client_id":-1}', b'{"max_payload":2147483648}', b'{"leafnode_urls":"a"}']
)
def test_info_of_a_wrong_kind(body: bytes) -> None:
    with pytest.raises(MalformedJSON):
        decode_leaf_info(body)


def test_lines_as_sent() -> None:
    connect = LeafConnect(version="2.15.1", name="E", headers=True, remote_account="$G", protocol=1)
    assert (
        encode_leaf_connect(connect)
        == b'CONNECT {"version":"2.15.1","name":"E","headers":true,"remote_account":"$G","protocol":1}\r\n'
    )
    info = LeafInfo(server_id="N", client_id=1, import_=SubjectRules(allow=("a",)), leafnode_urls=())
    assert (
        encode_leaf_info(info)
        == b'INFO {"server_id":"N","client_id":1,"import":{"allow":["a"]},"leafnode_urls":[]} \r\n'
    )


def test_what_is_sent_is_read_back() -> None:
    connect = LeafConnect(user="u", password="p", is_hub=True, deny_pub=("x.>",), isolate=True)
    assert decode_leaf_connect(encode_leaf_connect(connect)[8:]) == connect
