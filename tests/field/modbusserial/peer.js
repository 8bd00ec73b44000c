// SPDX-License-Identifier: Apache-2.0
// modbus-serial as a peer in tests; what it is told and what it tells is that of ../peer_libmodbus.c. The folder of
// node_modules comes first.
"use strict";
const readline = require("readline");

const [modules, role, ...rest] = process.argv.slice(2);
const Modbus = require(`${modules}/modbus-serial`);

function say(...words) {
  process.stdout.write(words.join(" ") + "\n");
}

async function ask(client, [fc, unit, at, ...v]) {
  client.setID(unit);
  switch (fc) {
    case 1:
      return (await client.readCoils(at, v[0])).data.slice(0, v[0]).map(Number);
    case 2:
      return (await client.readDiscreteInputs(at, v[0])).data.slice(0, v[0]).map(Number);
    case 3:
      return (await client.readHoldingRegisters(at, v[0])).data;
    case 4:
      return (await client.readInputRegisters(at, v[0])).data;
    case 5:
      await client.writeCoil(at, v[0] !== 0);
      return [];
    case 6:
      await client.writeRegister(at, v[0]);
      return [];
    case 15:
      await client.writeCoils(at, v.map(Boolean));
      return [];
    case 16:
      await client.writeRegisters(at, v);
      return [];
    case 22:
      await client.maskWriteRegister(at, v[0], v[1]);
      return [];
    case 43:
      return (await client.readDeviceIdentification(at, 0)).data;
    default:
      throw new Error(`no function ${fc}`);
  }
}

async function master(port) {
  const client = new Modbus();
  await client.connectTCP("127.0.0.1", { port: Number(port) });
  client.setTimeout(20000);
  for await (const line of readline.createInterface({ input: process.stdin })) {
    try {
      say("ok", ...(await ask(client, line.trim().split(" ").map(Number))));
    } catch (e) {
      say(...(e.modbusCode === undefined ? ["error", e.message] : ["exception", e.modbusCode]));
    }
  }
  process.exit(0);
}

function server(kind, place, words) {
  const registers = words.map(Number);
  const coils = Array.from({ length: 64 }, (_, i) => i % 3 === 0);
  const inside = (list, at) => {
    if (at >= list.length) throw Object.assign(new Error("no such address"), { modbusErrorCode: 2 });
    return list[at];
  };
  const vector = {
    getHoldingRegister: (at) => inside(registers, at),
    getInputRegister: (at) => inside(registers, at),
    getCoil: (at) => inside(coils, at),
    getDiscreteInput: (at) => inside(coils, at),
    setRegister: (at, value) => {
      inside(registers, at);
      registers[at] = value;
    },
    setCoil: (at, value) => {
      inside(coils, at);
      coils[at] = value;
    },
  };
  const peer =
    kind === "tcp"
      ? new Modbus.ServerTCP(vector, { host: "127.0.0.1", port: Number(place), unitID: 1 })
      : new Modbus.ServerSerial(vector, { port: place, baudRate: 19200, unitID: 1 }, { unitID: 1 });
  peer.on("initialized", () => say("ready"));
  for (const event of ["socketError", "serverError", "error"]) peer.on(event, (e) => say(event, String(e)));
}

if (role === "master") master(rest[0]);
else server(rest[0], rest[1], rest.slice(2));
