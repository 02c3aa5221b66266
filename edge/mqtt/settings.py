"""From the ``bridge_mqtt`` blocks of a configuration to the settings of the bridges, and what cannot work."""

import re

import msgspec

from phloem.firmware_bridge.mqtt.settings import MqttSettings, Tls, check_brokers
from phloem.shared.accounts.auth import GLOBAL_ACCOUNT
from phloem.shared.errors import ConfigError
from phloem.shared.limits import MQTT_BROKERS
from phloem.shared.server.options import Options
from phloem.shared.server.options_mqtt import MqttBroker
from phloem.shared.server.store_keys import secret_in

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


def broker_settings(options: Options) -> list[MqttSettings]:
    """One for each block, in their order.

    Raises:
        ConfigError: A value cannot work, two blocks are in each other's way, or there is no JetStream.
    """
    if not options.bridge_mqtt:
        return []
    if options.jetstream is None or not options.jetstream.on:
        raise ConfigError("bridge_mqtt keeps messages in streams: add a jetstream block with a store_dir")
    if len(options.bridge_mqtt) > MQTT_BROKERS:
        raise ConfigError(
            f"bridge_mqtt has {len(options.bridge_mqtt)} brokers, at most {MQTT_BROKERS} are possible"
        )
    settings = [_settings(block, options) for block in options.bridge_mqtt]
    check_brokers(settings)
    return settings


def password_of(settings: MqttSettings) -> str:
    """The password of now. Raises ConfigError."""
    return secret_in(settings.password_file, "the password") if settings.password_file else settings.password


def _settings(block: MqttBroker, options: Options) -> MqttSettings:
    try:
        if not _NAME.fullmatch(block.name):
            raise ConfigError("a name has letters, digits, - and _, because it is in names of streams")
        _check_account(block.account or GLOBAL_ACCOUNT, options)
        named = f"phloem-{options.server_name}-{block.name}" if options.server_name else ""
        given = msgspec.structs.asdict(block)
        given |= {
            "client_id": block.client_id or named,
            "subject": block.subject or f"mqtt.{block.name}",
            "account": block.account or GLOBAL_ACCOUNT,
            "tls": Tls(**msgspec.structs.asdict(block.tls)),
        }
        return MqttSettings(**given)
    except ConfigError as error:
        raise ConfigError(f'bridge_mqtt "{block.name}": {error.text}') from error


def _check_account(wanted: str, options: Options) -> None:
    """Where the configuration has the accounts: others are known later."""
    named = [account for account in options.accounts if account.name != options.system_account]
    if options.operators:
        return
    having = [one.name for one in named if one.jetstream is not None and one.jetstream.on]
    if wanted not in (having if named else [GLOBAL_ACCOUNT]):
        raise ConfigError(f'account "{wanted}" has no JetStream')
