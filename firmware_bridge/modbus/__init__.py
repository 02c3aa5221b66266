"""Modbus devices that are asked, over RTU or TCP; ``framing: modbus_rtu`` only listens."""
