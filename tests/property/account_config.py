"""A graph of accounts as a configuration file."""

from tests.property.account_model import Graph, User

from phloem.shared.accounts.definition import Export, Import, Kind, ResponseType

PASSWORD = "p"


def _array(subjects: tuple[str, ...]) -> str:
    return "[" + ", ".join(f'"{subject}"' for subject in subjects) + "]"


def config_for(graph: Graph) -> str:
    """The configuration file of a graph."""
    blocks = []
    for account in graph.accounts:
        users = "\n".join(f"    {_user_text(user)}" for user in graph.users if user.account == account.name)
        exports = "\n".join(f"    {_export_text(export)}" for export in account.exports)
        imports = "\n".join(f"    {_import_text(entry)}" for entry in account.imports)
        mappings = "\n".join(f'    "{m.source}": "{m.destinations[0].subject}"' for m in account.mappings)
        blocks.append(
            f"  {account.name} {{\n    users: [\n{users}\n    ]\n    exports: [\n{exports}\n    ]\n"
            f"    imports: [\n{imports}\n    ]\n    mappings: {{\n{mappings}\n    }}\n  }}"
        )
    return "accounts {\n" + "\n".join(blocks) + "\n}\n"


def _user_text(user: User) -> str:
    rights = user.permissions
    parts = []
    for what, allow, deny in (
        ("publish", rights.publish_allow, rights.publish_deny),
        ("subscribe", rights.subscribe_allow, rights.subscribe_deny),
    ):
        allowed = f"allow: {_array(allow)}, " if allow else ""
        if allow or deny:
            parts.append(f"{what}: {{ {allowed}deny: {_array(deny)} }}")
    if user.responds:
        parts.append("allow_responses: true")
    block = f", permissions: {{ {', '.join(parts)} }}" if parts else ""
    return f'{{ user: "{user.name}", password: {PASSWORD}{block} }}'


def _export_text(export: Export) -> str:
    parts = [f'{export.kind.value}: "{export.subject}"']
    if export.accounts is not None:
        parts.append(f"accounts: {_array(tuple(sorted(export.accounts)))}")
    if export.token_position:
        parts.append(f"account_token_position: {export.token_position}")
    if export.response_type is not ResponseType.SINGLETON:
        parts.append(f'response_type: "{export.response_type.value}"')
    return "{ " + ", ".join(parts) + " }"


def _import_text(entry: Import) -> str:
    parts = [f'{entry.kind.value}: {{ account: "{entry.account}", subject: "{entry.subject}" }}']
    prefix = entry.to.removesuffix(f".{entry.subject}")
    if entry.kind is Kind.STREAM and entry.to and prefix != entry.to and len(entry.subject) % 2:
        parts.append(f'prefix: "{prefix}"')  # two ways of saying the same
    elif entry.to:
        parts.append(f'to: "{entry.to}"')
    if entry.share:
        parts.append("share: true")
    return "{ " + ", ".join(parts) + " }"
