"""Which graphs of accounts a server has to take, and which it has to refuse (security_ops.md 2.6, 2.7).

nats-server reads the accounts of a file in no particular order, and what it says of imports that might form a cycle
depends on that order now and then, as does which of several exports an import is held against. A graph of which it
would not always say the same is ``UNSURE`` here, and tests make nothing of it.
"""

import itertools
from collections.abc import Iterable, Sequence
from enum import Enum

from tests.property.model import covers, is_valid

from phloem.shared.accounts.definition import Definition, Export, Import, Kind

ORDERS = 5040  # of accounts are looked at; a graph that has more is UNSURE


class Verdict(Enum):
    TAKEN = "taken"
    REFUSED = "refused"
    UNSURE = "unsure"


def placed(entry: Import) -> str:
    """The local subject of an import with ``*`` where it has a placeholder."""
    return ".".join(
        "*" if is_placeholder(token) else token for token in (entry.to or entry.subject).split(".")
    )


def is_placeholder(token: str) -> bool:
    return token.startswith("$") and token[1:].isdigit()


def collide(one: str, other: str) -> bool:
    """Whether a subject matches both."""
    mine, others = one.split("."), other.split(".")
    for at in range(max(len(mine), len(others))):
        if at >= len(mine) or at >= len(others):
            return False
        if ">" in (mine[at], others[at]):
            return True
        if mine[at] != others[at] and "*" not in (mine[at], others[at]):
            return False
    return True


def granting(exporter: Definition, entry: Import) -> list[Export]:
    """The exports that an import may be held against: the one with its very subject, or all that cover it."""
    mine = [export for export in exporter.exports if export.kind is entry.kind]
    exact = [export for export in mine if export.subject == entry.subject]
    return exact or [export for export in mine if covers(export.subject, entry.subject)]


def grants(export: Export, entry: Import, importer: str) -> bool:
    """Whether this export lets ``importer`` have the subject."""
    if export.token_position:
        tokens = entry.subject.split(".")
        return (
            export.subject != entry.subject
            and len(tokens) >= export.token_position
            and tokens[export.token_position - 1] == importer
        )
    return export.accounts is None or importer in export.accounts


def _authorized(exporter: Definition, entry: Import, importer: str) -> bool | None:
    """None: it depends on the export that is looked at."""
    answers = {grants(export, entry, importer) for export in granting(exporter, entry)}
    return None if len(answers) == 2 else answers == {True}


def _maps_well(entry: Import) -> bool:
    """Whether the local subject has the wildcards of the other one, each at least once."""
    local = entry.to or entry.subject
    if not is_valid(local) or not is_valid(entry.subject):
        return False
    tokens, theirs = local.split("."), entry.subject.split(".")
    if local == entry.subject or not {"*", ">"} & set(theirs):
        return True
    if (tokens[-1] == ">") != (theirs[-1] == ">"):
        return False
    used = [int(token[1:]) for token in tokens if is_placeholder(token)]
    used += range(1, tokens.count("*") + 1)
    wildcards = theirs.count("*")
    return all(1 <= number <= wildcards for number in used) and len(used) >= wildcards


def _service_cycle(importer: str, entry: Import, others: dict[str, list[Import]]) -> bool:
    """What nats-server finds when it follows the services that are imported already."""
    visited = {importer}
    local = placed(entry) if {"*", ">"} & set(entry.subject.split(".")) else entry.to or entry.subject

    def walk(account: str, subject: str) -> bool:
        for other in others[account]:
            if collide(subject, other.subject):
                if other.account in visited:
                    return True
                visited.add(account)
                theirs = placed(other)
                if walk(other.account, theirs if covers(subject, theirs) else subject):
                    return True
        return False

    return walk(entry.account, local)


def _stream_cycle(
    importer: str, entry: Import, others: dict[str, list[Import]], accounts: dict[str, Definition]
) -> bool:
    def walk(account: str, subject: str, visited: set[str]) -> bool:
        exported = [export for export in accounts[account].exports if export.kind is Kind.STREAM]
        if not any(covers(export.subject, subject) for export in exported):
            return False
        for other in others[account]:
            theirs = placed(other)
            if collide(subject, theirs):
                if other.account in visited:
                    return True
                visited.add(account)
                if walk(other.account, theirs if covers(subject, theirs) else subject, visited):
                    return True
        return False

    return any(walk(entry.account, local, {importer}) for local in (entry.to or entry.subject, entry.subject))


def _twice(entry: Import, others: Iterable[Import]) -> bool:
    if entry.kind is Kind.STREAM:
        return any(other[:3] == entry[:3] for other in others)
    local = entry.to or entry.subject
    return any(
        other.account == entry.account and local in (other.to or other.subject, placed(other))
        for other in others
    )


def _in_order(order: Sequence[Definition], accounts: dict[str, Definition], kind: Kind) -> bool:
    """Whether all imports of a kind are taken if the accounts are read in this order."""
    taken: dict[str, list[Import]] = {name: [] for name in accounts}
    for account in order:
        for entry in account.imports:
            if entry.kind is not kind:
                continue
            if kind is Kind.SERVICE:
                cycle = _service_cycle(account.name, entry, taken)
            else:
                cycle = _stream_cycle(account.name, entry, taken, accounts)
            if cycle or _twice(entry, taken[account.name]):
                return False
            taken[account.name].append(entry)
    return True


def verdict(definitions: Sequence[Definition]) -> Verdict:
    """What a server says of a file with these accounts."""
    accounts = {account.name: account for account in definitions}
    for account in definitions:
        for entry in account.imports:
            if entry.account not in accounts or not _maps_well(entry):
                return Verdict.REFUSED
    authorized = {
        _authorized(accounts[entry.account], entry, account.name)
        for account in definitions
        for entry in account.imports
    }
    if False in authorized:
        return Verdict.REFUSED
    if None in authorized or any(_which_export(accounts, account) for account in definitions):
        return Verdict.UNSURE
    return _cycles(definitions, accounts)


def _cycles(definitions: Sequence[Definition], accounts: dict[str, Definition]) -> Verdict:
    said: set[bool] = set()
    for kind in Kind:
        importing = [
            account for account in definitions if any(entry.kind is kind for entry in account.imports)
        ]
        orders = itertools.islice(itertools.permutations(importing), ORDERS)
        answers = {_in_order(order, accounts, kind) for order in orders}
        if answers == {False}:
            return Verdict.REFUSED
        said |= answers
    return Verdict.TAKEN if said == {True} else Verdict.UNSURE


def plausible(definitions: Sequence[Definition]) -> bool:
    """A quick look that finds most of what would be refused."""
    accounts = {account.name: account for account in definitions}
    return all(
        _authorized(accounts[entry.account], entry, account.name)
        for account in definitions
        for entry in account.imports
    ) and all(_in_order(order, accounts, kind) for order in (definitions, definitions[::-1]) for kind in Kind)


def _which_export(accounts: dict[str, Definition], account: Definition) -> bool:
    """Whether a service is imported for which several exports differ in how it answers."""
    return any(
        len(granting(accounts[entry.account], entry)) > 1
        for entry in account.imports
        if entry.kind is Kind.SERVICE
    )
