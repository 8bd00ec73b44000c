# SPDX-License-Identifier: Apache-2.0
"""pymodbus as RTU slaves on one port: slave.py PORT BAUD. Unit 1: holding and input register i holds i * 7 mod 65536, coil and
discrete i is i mod 3 == 0; unit 2: known values in each type, as the test that uses it says."""
import asyncio
import struct
import sys

from pymodbus.datastore import ModbusSequentialDataBlock, ModbusServerContext, ModbusSlaveContext
from pymodbus.server import StartAsyncSerialServer
from pymodbus.transaction import ModbusRtuFramer


def words(*parts):
    data = b"".join(struct.pack(form, value) for form, value in parts)
    return list(struct.unpack(f">{len(data) // 2}H", data))


def block(values):
    return ModbusSequentialDataBlock(0, values)


def units():
    ramp = [i * 7 % 65536 for i in range(1000)]
    bits = [i % 3 == 0 for i in range(1000)]
    typed = words((">h", -1234), (">H", 54321), (">i", -123456789), (">I", 3123456789), (">q", -1234567890123),
                  (">Q", 12345678901234567890), (">f", 21.5), (">d", 3.14159265358979))
    swapped = words((">f", 21.5))[::-1]  # CDAB
    return {
        1: ModbusSlaveContext(di=block(bits), co=block(bits), hr=block(ramp), ir=block(ramp), zero_mode=True),
        2: ModbusSlaveContext(di=block(bits), co=block(bits), hr=block(typed + swapped), ir=block(typed), zero_mode=True),
    }


async def main(port, baud):
    context = ModbusServerContext(slaves=units(), single=False)
    await StartAsyncSerialServer(context=context, framer=ModbusRtuFramer, port=port, baudrate=int(baud), parity="N",
                                 ignore_missing_slaves=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:3]))
