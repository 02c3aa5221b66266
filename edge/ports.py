"""From the ``serial`` blocks of a configuration to the settings of the bridge.

Whatever the bridge would refuse is refused here, with the name of the block, before anything starts.
"""

from phloem.firmware_bridge.settings import SerialSettings, check_distinct
from phloem.shared.errors import ConfigError
from phloem.shared.server.options import Options
from phloem.shared.server.options_phloem import Serial


def port_settings(options: Options) -> list[SerialSettings]:
    """One for each block, in their order.

    Raises:
        ConfigError: A value cannot work, or two blocks have the same device.
    """
    settings = [_settings(block) for block in options.serial]
    check_distinct(settings)
    return settings


def _settings(block: Serial) -> SerialSettings:
    try:
        return SerialSettings(
            name=block.name,
            device=block.device,
            subject=block.subject,
            command_subject=block.command_subject,
            baud=block.baud,
            bytesize=block.bytesize,
            parity=block.parity,
            stopbits=block.stopbits,
            flow_control=block.flow_control,
            dtr=block.dtr,
            rts=block.rts,
            init=block.init,
            silent_after_ns=block.silent_after_ns,
            capture=block.capture,
            raw_subject=block.raw_subject,
            port_subject=block.port_subject,
            framing=block.framing,
            idle_gap_ns=block.idle_gap_ns,
            protocol=block.protocol,
            decode=block.decode,
            shape=block.shape,
            images=block.images,
            process=block.process,
            poll=block.poll,
            modbus=block.modbus,
            export=block.export,
            request_subject=block.request_subject,
            request_match=block.request_match,
            request_timeout_ns=block.request_timeout_ns,
            max_frame_bytes=block.max_frame_bytes,
            retry_min_ns=block.retry_min_ns,
            retry_max_ns=block.retry_max_ns,
        )
    except ConfigError as error:
        raise ConfigError(f'serial "{block.name}": {error.text}') from error
