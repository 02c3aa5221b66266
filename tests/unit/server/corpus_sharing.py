"""Configuration texts about what accounts share, for the comparison with the real nats-server.

``EXPORTS``, ``IMPORTS`` and ``MAPPINGS`` are accepted alike by ``-t``, with the same digest. ``SAME_TEXT_BETWEEN`` are
refused, with the same words.
"""


def accounts(*blocks: str) -> str:
    return "accounts {\n" + "\n".join(blocks) + "\n}\n"


def export(entry: str) -> str:
    return accounts(f"A {{ exports: [ {entry} ] }}", "B {}", "C {}")


def crossing(exported: str, imported: str) -> str:
    """B imports from A."""
    return accounts(f"A {{ exports: [ {exported} ] }}", f"B {{ imports: [ {imported} ] }}", "C {}")


def mapping(text: str) -> str:
    return f"mappings {{ {text} }}"


EXPORTS = [
    *(export("{stream: a}"), export('{stream: "a.>"}'), export("{service: a}"), export("{STREAM: a}")),
    *(
        export("{stream: a, accounts: [B]}"),
        export("{stream: a, accounts: [B, C]}"),
        export("{stream: a, accounts: []}"),
    ),
    *(
        export("{stream: a, accounts: [Z]}"),
        export("{service: a, accounts: [Z]}"),
        export("{stream: a, accounts: B}"),
    ),
    *(
        export("{stream: a, accounts: [5]}"),
        export('{stream: a, accounts: ["$G"]}'),
        export("x"),
        export("5"),
    ),
    *(
        export("{}"),
        export("{accounts: [B]}"),
        export("{stream: 5}"),
        export("{service: 5}"),
        export("{foo: 1}"),
    ),
    *(export("{stream: a, service: b}"), export("{service: a, stream: b}"), export("{stream: a, foo: 1}")),
    *(
        export('{stream: "a..b"}'),
        export('{service: "a b"}'),
        export('{stream: ""}'),
        export('{service: ""}'),
    ),
    *(
        export(f"{{service: a, {key}: {kind}}}")
        for key, kind in (
            ("response", "single"),
            ("response_type", "singleton"),
            ("response_type", "Stream"),
            ("response_type", "chunk"),
            ("response_type", "CHUNKED"),
            ("response_type", "foo"),
            ("response_type", "5"),
        )
    ),
    *(
        export("{stream: a, response_type: stream}"),
        export("{service: a, response: single, response_type: single}"),
    ),
    *(
        export(f"{{service: a, {key}: {text}}}")
        for key, text in (
            ("threshold", '"1s"'),
            ("response_threshold", '"1m"'),
            ("response_max_time", "10s"),
            ("response_time", '"-1s"'),
            ("threshold", "5"),
            ("threshold", "x"),
            ("threshold", '""'),
        )
    ),
    export('{service: a, threshold: "1s", response_time: "1s"}'),
    *(
        export(f"{{service: a, latency: {text}}}")
        for text in (
            "l",
            '"l.x"',
            "{subject: l}",
            "{subject: l, sampling: 50}",
            '{subject: l, sampling: "50%"}',
            '{subject: l, sampling: "50"}',
            "{subject: l, sampling: headers}",
            '{subject: l, sampling: " Headers "}',
            "{subject: l, sampling: 0}",
            "{subject: l, sampling: 101}",
            '{subject: l, sampling: "x%"}',
            '{subject: l, sampling: ""}',
            "{subject: l, sampling: 1.5}",
            "{subject: l, sampling: true}",
            "{sampling: 50}",
            "{subject: 5}",
            "{subject: l, foo: 1}",
            "{SUBJECT: l}",
            "{}",
            "5",
            "[]",
            '"l.*"',
            '"l..x"',
            '""',
            "a",
        )
    ),
    export("{stream: a, latency: l}"),
    export("{service: a, response_type: stream, latency: l}"),
    *(export("{service: a, allow_trace: true}"), export("{service: a, allow_trace: 5}")),
    *(export("{stream: a, allow_trace: true}"), export("{stream: a, allow_trace: false}")),
    *(
        export(f"{{stream: {subject}, account_token_position: {position}}}")
        for subject, position in (
            ('"a.*"', "2"),
            ('"a.*"', "1"),
            ('"a.*"', "3"),
            ('"a.*"', "0"),
            ('"a.*"', "x"),
            ('"*.a"', "1"),
            ("a", "1"),
            ('"a.>"', "2"),
        )
    ),
    *(
        export(f"{{service: {subject}, account_token_position: {position}}}")
        for subject, position in (('"a.*"', "2"), ('"a.*"', "1"), ("a", "1"), ('"a.*"', "3"), ('"a.>"', "2"))
    ),
    export('{stream: "a.*", account_token_position: 2, accounts: [B]}'),
    export('{service: "a.*", account_token_position: 2, accounts: [B]}'),
    export("{stream: a}, {stream: a}"),
    export("{service: a}, {service: a, accounts: [B]}"),
    *(accounts("A { exports: x }"), accounts("A { exports: {stream: a} }"), accounts("A { exports: [] }")),
]
IMPORTS = [
    *(
        crossing(exported, imported)
        for exported, imported in (
            ("{stream: a}", "{stream: {account: A, subject: a}}"),
            ("{stream: a}", "{stream: {account: A, subject: b}}"),
            ("{stream: a}", "{service: {account: A, subject: a}}"),
            ("{service: a}", "{service: {account: A, subject: a}}"),
            ("{service: a}", "{stream: {account: A, subject: a}}"),
            ("{service: a}", "{service: {account: A, subject: a}, to: b}"),
            ("{service: a}", "{service: {account: A, subject: a}, to: b, share: true}"),
            ("{service: a}", "{service: {account: A, subject: a}, share: 5}"),
            ("{service: a}", "{service: {account: A, subject: a}, allow_trace: true}"),
            ("{service: a}", "{service: {account: A, subject: a}, prefix: x}"),
            ("{service: a}", "{service: {account: A}}"),
            ("{service: a}", "{service: {subject: a}}"),
            ("{service: a}", "{service: {account: A, subject: a, foo: 1}}"),
            ("{service: a}", "{service: x}"),
            ("{service: a}", "{service: {account: Z, subject: a}}"),
            ("{service: a}", '{service: {account: "$G", subject: a}}'),
            (
                "{service: a}",
                "{service: {account: A, subject: a}, to: b}, {service: {account: A, subject: a}, to: c}",
            ),
            (
                "{service: a}, {service: c}",
                "{service: {account: A, subject: a}, to: b}, {service: {account: A, subject: c}, to: b}",
            ),
            ("{service: a}", "{service: {account: A, subject: a}}, {service: {account: A, subject: a}}"),
            ('{service: "a.*"}', '{service: {account: A, subject: "a.*"}}'),
            ('{service: "a.*"}', '{service: {account: A, subject: "a.x"}}'),
            ('{service: "a.*"}', '{service: {account: A, subject: "a.*"}, to: "b.*"}'),
            ('{service: "a.*"}', '{service: {account: A, subject: "a.*"}, to: "b.$1"}'),
            ('{service: "a.*.*"}', '{service: {account: A, subject: "a.*.*"}, to: "b.$2.$1"}'),
            ('{service: "a.*"}', '{service: {account: A, subject: "a.*"}, to: "b.$2"}'),
            ('{service: "a.*"}', '{service: {account: A, subject: "a.*"}, to: b}'),
            ('{service: "a.*"}', '{service: {account: A, subject: "a.*"}, to: "b..c"}'),
            ('{service: "a.>"}', '{service: {account: A, subject: "a.>"}, to: "b.>"}'),
            ('{service: "a.>"}', '{service: {account: A, subject: "a.>"}, to: "b"}'),
            ('{service: "a.>"}', '{service: {account: A, subject: "a.x.y"}}'),
            ('{service: "a"}', '{service: {account: A, subject: "a.>"}}'),
            ("{service: a, accounts: [B]}", "{service: {account: A, subject: a}}"),
            ("{service: a, accounts: [C]}", "{service: {account: A, subject: a}}"),
            ('{service: "a.*", account_token_position: 2}', '{service: {account: A, subject: "a.B"}}'),
            ('{service: "a.*", account_token_position: 2}', '{service: {account: A, subject: "a.C"}}'),
            ('{service: "a.*", account_token_position: 2}', '{service: {account: A, subject: "a.*"}}'),
            ('{stream: "a.>"}', '{stream: {account: A, subject: "a.>"}}'),
            ('{stream: "a.>"}', '{stream: {account: A, subject: "a.x"}, prefix: p}'),
            ('{stream: "a.>"}', '{stream: {account: A, subject: "a.x"}, prefix: "p.q"}'),
            ('{stream: "a.>"}', '{stream: {account: A, subject: "a.x"}, prefix: "p."}'),
            ('{stream: "a.>"}', '{stream: {account: A, subject: "a.x"}, prefix: "p.*"}'),
            ('{stream: "a.>"}', '{stream: {account: A, subject: "a.x"}, to: q}'),
            ('{stream: "a.>"}', '{stream: {account: A, subject: "a.*"}, to: "q.*"}'),
            ('{stream: "a.>"}', '{stream: {account: A, subject: "a.*.*"}, to: "q.$2.$1"}'),
            ('{stream: "a.>"}', '{stream: {account: A, subject: "a.*"}, to: "q.$2"}'),
            ('{stream: "a.>"}', '{stream: {account: A, subject: "a.*"}, to: "q"}'),
            ('{stream: "a.>"}', '{stream: {account: A, subject: "a.>"}, to: "q.>"}'),
            ('{stream: "a.>"}', '{stream: {account: A, subject: "a.x"}, allow_trace: true}'),
            ('{stream: "a.>"}', '{stream: {account: A, subject: "a.x"}, share: true}'),
            ('{stream: "a.>"}', '{stream: {account: A, subject: "a..x"}}'),
            ('{stream: "a.>"}', '{stream: {account: A, subject: ">"}}'),
            ('{stream: "a.>"}', "{stream: {account: A, subject: a.x}}, {stream: {account: A, subject: a.x}}"),
            (
                '{stream: "a.>"}',
                "{stream: {account: A, subject: a.x}, to: b}, {stream: {account: A, subject: a.x}, to: c}",
            ),
            ("{stream: a, accounts: [B]}", "{stream: {account: A, subject: a}}"),
            ("{stream: a, accounts: [C]}", "{stream: {account: A, subject: a}}"),
            ('{stream: "a.*", account_token_position: 2}', '{stream: {account: A, subject: "a.B"}}'),
            ('{stream: "a.*", account_token_position: 2}', '{stream: {account: A, subject: "a.C"}}'),
            ("{stream: a}", "{stream: {account: Z, subject: a}}"),
            ("{stream: a}", "{stream: x}"),
            ("{stream: a}", "{stream: {account: A}}"),
            ("{stream: a}", "{stream: {account: 5, subject: a}}"),
            ("{stream: a}", "{stream: {account: A, subject: a}, service: {account: A, subject: a}}"),
            ("{stream: a}", "x"),
            ("{stream: a}", "{}"),
            ("{stream: a}", "{foo: 1}"),
            ("{stream: a}", "{stream: {account: A, subject: a}, foo: 1}"),
            ("{stream: a}", "{stream: {account: A, subject: a}, prefix: 5}"),
            ("{stream: a}", "{stream: {account: B, subject: a}}"),
        )
    ),
    *(accounts("A { imports: x }"), accounts("A { imports: {} }"), accounts("A { imports: [] }")),
    # cycles
    accounts(
        "A { exports: [{service: a}], imports: [{service: {account: B, subject: b}, to: a}] }",
        "B { exports: [{service: b}], imports: [{service: {account: A, subject: a}, to: b}] }",
    ),
    accounts(
        "A { exports: [{service: a}], imports: [{service: {account: B, subject: b}}] }",
        "B { exports: [{service: b}], imports: [{service: {account: A, subject: a}}] }",
    ),
    accounts(
        "A { exports: [{stream: a}], imports: [{stream: {account: B, subject: a}}] }",
        "B { exports: [{stream: a}], imports: [{stream: {account: A, subject: a}}] }",
    ),
    accounts(
        "A { exports: [{stream: a}], imports: [{stream: {account: B, subject: b}}] }",
        "B { exports: [{stream: b}], imports: [{stream: {account: A, subject: a}}] }",
    ),
    accounts(
        "A { exports: [{service: a}], imports: [{service: {account: C, subject: c}, to: a}] }",
        "B { exports: [{service: b}], imports: [{service: {account: A, subject: a}, to: b}] }",
        "C { exports: [{service: c}], imports: [{service: {account: B, subject: b}, to: c}] }",
    ),
    # the importer comes first
    accounts("B { imports: [{stream: {account: A, subject: a}}] }", "A { exports: [{stream: a}] }"),
]
MAPPINGS = [
    *(mapping(text) for text in ("a: b", '"a.*": "b.$1"', '"a.*.*": "b.$2.$1"', '"a.>": "b.>"', "a: a")),
    *(mapping(text) for text in ('"a.*": "b.{{wildcard(1)}}"', '"a.*": "b.{{Wildcard(1)}}"', '"a.*": "b.*"')),
    *(
        mapping(text)
        for text in ('"a.*": "b.$2"', '"a.*": b', '"a.>": b', 'a: "b.>"', 'a: "b.$1"', 'a: "b.*"')
    ),
    *(
        mapping(text)
        for text in ('"a..b": c', '"a b": c', 'a: "b..c"', 'a: "b c"', 'a: ""', "a: 5", "a: []", "a: {}")
    ),
    *(
        mapping(f'"a.*.*": "b.{{{{{text}}}}}"')
        for text in (
            *(
                "partition(10,1)",
                "partition(10)",
                "partition(0,1)",
                "partition(x)",
                "partition(10,3)",
                "partition()",
            ),
            *(
                "split(1,-)",
                "split(1)",
                "split(1,-,x)",
                "split(x,-)",
                "split(3,-)",
                "split(1, )",
                "split(1,.)",
            ),
            *("splitFromLeft(1,2)", "splitfromleft(1,2)", "SplitFromRight(1,2)", "splitFromRight(1)"),
            *("sliceFromLeft(1,2)", "sliceFromRight(1,2)", "sliceFromRight(1,x)", "left(1,2)", "Right(2,1)"),
            *("right(1,2,3)", "random(5)", "random()", "random(1,2)", "foo(1)", "wildcard()", "wildcard(x)"),
            *("wildcard(1,2)", "wildcard(0)", "wildcard(3)", "wildcard", "", "wildcard( 2 )"),
        )
    ),
    *(
        mapping(f'a: "b.{{{{{text}}}}}"')
        for text in ("partition(5)", "random(5)", "wildcard(1)", "partition(5,1)")
    ),
    *(
        mapping(f"a: {text}")
        for text in (
            "{destination: b, weight: 50}",
            "{dest: b, weight: 100%}",
            '{dest: b, weight: "50%"}',
            "{dest: b}",
            "{weight: 50}",
            "{dest: b, weight: 101}",
            "{dest: b, weight: -1}",
            '{dest: b, weight: "101%"}',
            "{dest: b, weight: x}",
            "{dest: b, weight: 1.5}",
            "{dest: b, weight: true}",
            "{dest: b, weight: 50, cluster: c}",
            "{dest: b, weight: 50, cluster: 5}",
            "{dest: b, weight: 50, foo: 1}",
            "{dest: 5, weight: 50}",
            "[{dest: b, weight: 50}, {dest: c, weight: 50}]",
            "[{dest: b, weight: 60}, {dest: c, weight: 50}]",
            "[{dest: b, weight: 50}, {dest: b, weight: 50}]",
            "[{dest: b, weight: 50}, {dest: b, weight: 50, cluster: x}]",
            "[{dest: b, weight: 60}, {dest: c, weight: 60, cluster: x}]",
            "[{dest: b, weight: 60, cluster: x}, {dest: c, weight: 60, cluster: x}]",
            "[{dest: b, weight: 0}]",
            "[{dest: b}]",
            "[b]",
            "[5]",
            '[{dest: "b.*", weight: 50}]',
            "[{dest: a, weight: 50}]",
        )
    ),
    *("mappings: x", "mappings: []", "mappings {}", "maps { a: b }", accounts("A { mappings { a: b } }")),
    *(accounts("A { maps { a: {dest: b, weight: 5} } }"), accounts("A { mappings: x }")),
    accounts("A { mappings { a: 5 } }"),
]
SAME_TEXT_BETWEEN = [
    *(
        crossing(exported, imported)
        for exported, imported in (
            ("{stream: a}", "{stream: {account: A, subject: b}}"),
            ("{service: a}", "{service: {account: A, subject: b}}"),
            ("{service: a}", "{service: {account: A}}"),
            ("{service: a}", "{service: x}"),
            ("{stream: a}", "{stream: x}"),
            ("{stream: a}", "x"),
            ("{service: a}", "{service: {account: Z, subject: a}}"),
            ("{stream: a}", "{stream: {account: Z, subject: a}}"),
            ('{service: "a.*"}', '{service: {account: A, subject: "a.*"}, to: "b.$2"}'),
            ('{stream: "a.>"}', '{stream: {account: A, subject: "a.x"}, prefix: "p.*"}'),
            ('{stream: "a.>"}', '{stream: {account: A, subject: "a.*"}, to: "q"}'),
            ('{stream: "a.>"}', "{stream: {account: A, subject: a.x}}, {stream: {account: A, subject: a.x}}"),
        )
    ),
    accounts("A { imports: x }"),
    *(
        mapping(text)
        for text in (
            '"a.*": "b.$2"',
            '"a.*": "b.{{foo(1)}}"',
            '"a.*": "b.{{wildcard(1,2)}}"',
            '"a.*": "b.{{wildcard(x)}}"',
            '"a.*": "b.{{split(1)}}"',
            '"a..b": c',
            'a: "b..c"',
            'a: "b.>"',
            'a: "b.{{wildcard(1)}}"',
            "a: {dest: b}",
            "a: {dest: b, weight: 101}",
            "a: {dest: b, weight: x}",
            "a: {dest: b, weight: 50, foo: 1}",
            "a: [{dest: b, weight: 60}, {dest: c, weight: 50}]",
            "a: [{dest: b, weight: 50}, {dest: b, weight: 50}]",
            "a: [b]",
        )
    ),
]
SAME_TEXT_EXPORTS = [
    *(
        export("{stream: a, accounts: [Z]}"),
        export("{service: a, accounts: [Z]}"),
        export("x"),
    ),
    *(export("{foo: 1}"), export("{service: a, response_type: foo}"), export("{service: a, threshold: x}")),
    *(export("{service: a, latency: 5}"), export("{service: a, latency: {sampling: 50}}")),
    *(export("{service: a, latency: {subject: l, sampling: 0}}"), export('{service: a, latency: "l.*"}')),
    *(export('{service: a, latency: {subject: l, sampling: "x%"}}'), export("{service: a, latency: a}")),
    *(export("{service: a, response_type: stream, latency: l}"), accounts("A { exports: x }")),
    *(
        export('{stream: "a.*", account_token_position: 1}'),
        export("{service: a, account_token_position: 1}"),
    ),
]
