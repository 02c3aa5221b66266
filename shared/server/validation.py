"""What must hold between options for a server to start. nats-server's ``-t`` does not look at this.

The order is nats-server's: of several mistakes the same one is told. The texts are its as well, without a position.
"""

from typing import TYPE_CHECKING

from phloem.shared import limits
from phloem.shared.accounts.auth import GLOBAL_ACCOUNT, SYSTEM_ACCOUNT
from phloem.shared.errors import ConfigError, InvalidJWT
from phloem.shared.leaf.allowance import shares
from phloem.shared.leaf.hours import windows
from phloem.shared.security.nkeys import Prefix, is_public
from phloem.shared.server import load_auth, load_tls
from phloem.shared.server.durations import format_duration
from phloem.shared.server.options import Options
from phloem.shared.server.options_fleet import Fleet
from phloem.shared.server.options_link import LinkOptions
from phloem.shared.server.options_trust import CACHE, FULL, URL
from phloem.shared.wire.info import PROTOCOL_VERSION
from phloem.shared.wire.subjects import is_valid

if TYPE_CHECKING:
    from phloem.shared.server.server import Server

NOT_NEGATIVE = (
    "max_control_line",
    "max_payload",
    "max_pending",
    "max_sub_tokens",
    "max_closed_clients",
    "max_traced_msg_len",
    "ping_interval_ns",
    "ping_max",
    "write_deadline_ns",
)
REMOTE_NEEDS_ACCOUNT = (
    "operator mode requires account nkeys in remotes. Please add an `account` key to each remote in your `leafnodes` "
    "section, to assign it to an account. Each account value should be a 56 character public key, starting with the "
    "letter 'A'"
)


def validate(options: Options) -> None:
    """Whether a server may start with these options.

    Raises:
        ConfigError: With nats-server's text and no position.
    """
    _check_numbers(options)
    if " " in options.server_name:
        raise ConfigError("server name cannot contain spaces")
    _check_operators(options)
    _check_leafnodes(options)
    _check_link(options.phloem.link)
    load_tls.validate(options)
    _check_users(options)
    for proxy in options.proxies.trusted:
        if not is_public(proxy.key):
            raise ConfigError(f'proxy trusted key "{proxy.key}" is invalid')
    _check_domains(options)
    _check_resolver(options)
    _check_accounts(options)


def validate_product(server: "Server", options: Options) -> None:
    """Raises ConfigError for what another product does."""
    if options.serial and not server.serves_serial_ports:
        raise ConfigError('serial devices are served by "phloem edge" and "phloem bridge" only')
    if options.bridge_mqtt and not server.forwards:  # what has streams of a device
        raise ConfigError('bridge_mqtt is for "phloem edge" only')
    if options.forward and not server.forwards:
        raise ConfigError('forward is for "phloem edge" only')
    if options.fleet != Fleet() and not server.collects:
        raise ConfigError('fleet is for "phloem hub" only')
    if options.twin is not None and not server.keeps_twin:
        raise ConfigError('a twin is kept by "phloem edge" only')


def start_warnings(options: Options) -> tuple[str, ...]:
    """What a server should log as warnings when it starts with these options."""
    warnings = []
    if load_auth.has_plaintext_secret(options):
        warnings.append("Plaintext passwords detected, use nkeys or bcrypt")
    if options.operators and options.system_account in ("", SYSTEM_ACCOUNT):
        warnings.append("Trusted Operators should utilize a System Account")
    if options.max_payload > limits.MAX_PAYLOAD_WARN:
        warnings.append(
            "Maximum payloads over 8.00 MB are generally discouraged and could lead to poor performance"
        )
    warnings += load_tls.warnings(options)
    if options.default_js_domain:
        text = "is a temporary backwards compatibility measure and will be removed"
        warnings.append(f"The option `default_js_domain` {text}")
    return tuple(warnings)


def _check_numbers(options: Options) -> None:
    for name in NOT_NEGATIVE:
        if getattr(options, name) < 0:
            raise ConfigError(f"{name.removesuffix('_ns')} cannot be negative")
    if options.max_control_line > limits.MAX_CONTROL_LINE_CEILING:
        raise ConfigError(f"max_control_line cannot be higher than {limits.MAX_CONTROL_LINE_CEILING}")
    duration, grace = options.lame_duck_duration_ns, options.lame_duck_grace_period_ns
    if grace >= duration:
        raise ConfigError(
            f"lame duck grace period ({format_duration(grace)}) should be strictly lower than "
            f"lame duck duration ({format_duration(duration)})"
        )
    if options.max_payload > options.max_pending:
        raise ConfigError(
            f"max_payload ({options.max_payload}) cannot be higher than max_pending ({options.max_pending})"
        )
    for name, port in (
        ("", options.port),
        ("http ", options.http_port),
        ("https ", options.https_port),
        ("leafnodes ", options.leafnodes.port),
    ):
        if not -1 <= port <= 65535:
            raise ConfigError(f"{name}port {port} is not between -1 and 65535")


def _check_link(link: LinkOptions) -> None:
    """phloem's own."""
    for name in (
        "reconnect_max_ns",
        "timeout_max_ns",
        "dead_after_ns",
        "ping_interval_ns",
        "return_to_first_ns",
    ):
        if getattr(link, name) < 0:
            raise ConfigError(f"link: {name.removesuffix('_ns')} cannot be negative")
    if 0 < link.dead_after_ns < limits.LINK_DEAD_AFTER_LEAST_NS:
        raise ConfigError("link: dead_after has to be 2s or more, or 0")
    windows(link.hours)
    shares(link.shares)


# --- operators ------------------------------------------------------------------------------------


def _check_operators(options: Options) -> None:
    """Trust comes from operators or from the file, not from both."""
    if not options.operators:
        if options.default_sentinel:
            raise ConfigError("default sentinel requires operators and accounts")
        return
    if options.default_sentinel:
        _check_sentinel(options.default_sentinel)
    if options.resolver is None:
        raise ConfigError("operators require an account resolver to be configured")
    if options.accounts or options.mappings:
        raise ConfigError("operators do not allow Accounts to be configured directly")
    if options.users or options.nkeys:
        raise ConfigError("operators do not allow users to be configured directly")
    if options.trusted_keys:
        raise ConfigError("conflicting options for 'TrustedKeys' and 'TrustedOperators'")
    _check_system_account(options)
    from phloem.shared.security.trust import check_server_version  # noqa: PLC0415  (not needed without operators)

    for operator in options.operators:
        check_server_version(operator.claims, PROTOCOL_VERSION)
    options.trust  # noqa: B018  (making it checks the keys)
    for key in options.resolver_pinned_accounts:
        if not is_public(key, Prefix.ACCOUNT):
            raise ConfigError(f'pinned account key "{key}" is not a valid public account nkey')
    if options.authorization.auth_callout is not None:
        raise ConfigError("operators do not allow authorization callouts to be configured directly")


def _check_sentinel(token: str) -> None:
    """A bearer, or a user whose scope is known only when its account is."""
    from phloem.shared.security.admission import has_permissions  # noqa: PLC0415  (not needed without operators)
    from phloem.shared.security.claims import UserClaims  # noqa: PLC0415
    from phloem.shared.security.tokens import decode_as  # noqa: PLC0415

    try:
        claims = decode_as(token, UserClaims)
    except InvalidJWT:
        raise ConfigError("default sentinel JWT not valid") from None
    scoped = bool(claims.nats.issuer_account) and not has_permissions(claims)
    if not claims.nats.bearer_token and not scoped:
        raise ConfigError("default sentinel must be a bearer token")


def _check_system_account(options: Options) -> None:
    named = [operator.claims.nats.system_account for operator in options.operators]
    if options.system_account not in ("", SYSTEM_ACCOUNT):
        if any(named) and options.system_account not in named:
            raise ConfigError("system_account in config and operator JWT must be identical")
    elif not named[0] and options.resolver is not None and options.resolver.kind in (FULL, CACHE):
        raise ConfigError(
            "using nats based account resolver - the system account needs to be specified in configuration "
            "or the operator jwt"
        )


def _check_resolver(options: Options) -> None:
    if options.resolver_preload and options.resolver is not None and options.resolver.kind == URL:
        raise ConfigError("resolver preloads only available for writeable resolver types MEM/DIR/CACHE_DIR")


# --- users and accounts ---------------------------------------------------------------------------


def _check_leafnodes(options: Options) -> None:
    leaf = options.leafnodes
    if not options.operators:
        used = [
            ("authorization", name)
            for name in (leaf.authorization.account, *(user.account for user in leaf.authorization.users))
        ]
        used += [("remote", remote.account) for remote in leaf.remotes]
        for where, name in used:
            if name and name not in options.account_names:
                raise ConfigError(f'cannot find local account "{name}" specified in leafnode {where}')
        return
    if leaf.authorization.users:
        raise ConfigError("operator mode does not allow specifying users in leafnode config")
    if not all(is_public(remote.account, Prefix.ACCOUNT) for remote in leaf.remotes):
        raise ConfigError(REMOTE_NEEDS_ACCOUNT)
    account = leaf.authorization.account
    if leaf.port and account and not is_public(account, Prefix.ACCOUNT):
        raise ConfigError("operator mode and non account nkeys are incompatible")


def _check_users(options: Options) -> None:
    single = options.authorization
    if (single.user or single.password) and single.token:
        raise ConfigError("Cannot have a user/pass and token")
    if single.users and (single.user or single.token):
        kind = "single user/pass" if single.user else "token"
        raise ConfigError(f"Can not have a {kind} and a users array")
    if (single.user or single.token) and any(account.users for account in options.accounts):
        raise ConfigError(f"Can not have a {'single user/pass' if single.user else 'token'} and accounts")
    wanted = options.no_auth_user
    if not wanted:
        return
    if options.operators:
        raise ConfigError("no_auth_user not compatible with Trusted Operator")
    names = {user.user for user in options.users} | {user.nkey for user in options.nkeys}
    if not names:
        raise ConfigError(f'no_auth_user: "{wanted}" present, but users/nkeys are not defined')
    if wanted not in names:
        raise ConfigError(
            f'no_auth_user: "{wanted}" not present as user or nkey in authorization block '
            "or account configuration"
        )


def _check_domains(options: Options) -> None:
    """``default_js_domain`` names accounts without JetStream of their own, and domains that can be in a subject."""
    kept = {
        account.name: account.jetstream is not None and account.jetstream.on for account in options.accounts
    }
    for name, domain in options.default_js_domain.items():
        if options.operators:
            if not is_public(name, Prefix.ACCOUNT):
                text = f'"{name}", which is not a valid public account nkey'
                raise ConfigError(f"default_js_domain contains account name {text}")
        elif kept.get(name) and domain:
            raise ConfigError(f'default_js_domain contains account name "{name}" with enabled JetStream')
        elif name != GLOBAL_ACCOUNT and name not in kept:
            raise ConfigError(
                f'in non operator mode, `default_js_domain` references non existing account "{name}"'
            )
    for name, domain in options.default_js_domain.items():
        if name == (options.system_account or SYSTEM_ACCOUNT):
            raise ConfigError(f'system account "{name}" can not be in default_js_domain')
        if domain and not is_valid(f"$JS.{domain}.API.>"):
            text = f'"{name}" with invalid domain name "{domain}"'
            raise ConfigError(f"default_js_domain contains account {text}")
    own = options.jetstream.domain if options.jetstream is not None else ""
    if own and not is_valid(f"$JS.{own}.API.>"):
        raise ConfigError(f'invalid domain name: derived "$JS.{own}.API.>" is not a valid subject')
    if any(character in own for character in ".*>"):
        raise ConfigError("invalid domain name: may not contain ., * or >")
    if len(own.encode()) > limits.JETSTREAM_DOMAIN:
        raise ConfigError(f"invalid domain name: longer than {limits.JETSTREAM_DOMAIN} bytes")


def _check_accounts(options: Options) -> None:
    """The system account of a configuration without operators is in the configuration."""
    if options.operators or options.trusted_keys:
        return
    defined = {"", GLOBAL_ACCOUNT, SYSTEM_ACCOUNT, *(account.name for account in options.accounts)}
    if options.system_account not in defined:
        raise ConfigError("error resolving system account: account missing")
