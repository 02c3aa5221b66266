"""Topics and subjects, beside nats-server's function."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phloem.firmware_bridge.mqtt.topics import filter_problem, subject_of, topic_of
from phloem.shared.wire.subjects import is_literal, is_valid

TOPICS = st.text(
    st.one_of(st.sampled_from("/. a*>%é\x7f\t20"), st.characters(exclude_categories=["Cs"])), min_size=1
)
NAMES = TOPICS.filter(lambda topic: not set(topic) & set("+#\x00") and len(topic.encode()) < 65_535)


def by_nats_server(topic: str) -> str:
    """``mqttToNATSSubjectConversion`` of 2.15, step by step."""
    out = ""
    for at, char in enumerate(topic):
        if char == "/":
            if at == 0 or out.endswith("."):
                out += "/."
            elif at == len(topic) - 1 or topic[at + 1] == "/":
                out += "./"
            else:
                out += "."
        elif char == ".":
            out += "//"
        else:
            out += char
    return out + "/" if out.endswith(".") else out


@given(NAMES)
def test_there_and_back(topic: str) -> None:
    subject = subject_of(topic)
    assert is_valid(subject)
    assert is_literal(subject)
    assert topic_of(subject) == topic


@given(NAMES.filter(lambda topic: not set(topic) & set(" \t\n\r\f\v\x7f*>")))
def test_what_nats_server_takes_becomes_what_it_makes_of_it(topic: str) -> None:
    assert subject_of(topic) == by_nats_server(topic)


@given(NAMES, NAMES)
def test_two_topics_have_two_subjects(one: str, other: str) -> None:
    assert (subject_of(one) == subject_of(other)) == (one == other)


@pytest.mark.parametrize(
    ("topic", "subject"),
    [
        ("zigbee2mqtt/lamp/set", "zigbee2mqtt.lamp.set"),
        ("/tele", "/.tele"),
        ("tele/", "tele./"),
        ("a//b", "a./.b"),
        ("/", "/./"),
        ("v1.2/x", "v1//2.x"),
        ("z/living room", "z.living/20room"),
        ("a/*/>", "a./2a./3e"),
        ("a*/b>", "a*.b>"),
        ("$SYS/uptime", "$SYS.uptime"),
    ],
)
def test_examples(topic: str, subject: str) -> None:
    assert subject_of(topic) == subject
    assert topic_of(subject) == topic


@pytest.mark.parametrize(
    ("subject", "text"),
    [
        ("", "without a name"),
        ("a..b", "empty token"),
        ("a./x", "stands for a dot"),
        ("a.+", "'\\+' cannot be"),
        ("a./23", "'#' cannot be"),
        ("a" * 65_536, "65535 bytes"),
    ],
)
def test_subjects_without_a_topic(subject: str, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        topic_of(subject)


@pytest.mark.parametrize("topic_filter", ["#", "+", "a/#", "+/a/+", "/", "a//b", "$SYS/#"])
def test_filters(topic_filter: str) -> None:
    assert filter_problem(topic_filter) == ""


@pytest.mark.parametrize("topic_filter", ["", "a#", "#/a", "a/b+", "a\x00", "x" * 65_536])
def test_no_filters(topic_filter: str) -> None:
    assert filter_problem(topic_filter) != ""
