// SPDX-License-Identifier: Apache-2.0
// MQTT.js in Node, told what to do in lines like the programs around C libraries (../driver.h). Two arguments more come
// first: the folder of node_modules, and mqtt or ws.
"use strict";
const fs = require("fs");
const readline = require("readline");

const [modules, scheme, port, id, version, clean, expiry, will, ca, cert, key, folder] = process.argv.slice(2);
const mqtt = require(`${modules}/mqtt`);
const SHORT = 200; // what is longer goes through a file
let connected = false;
let told = false; // that the connection is lost, and why
let files = 0;

function say(...words) {
  process.stdout.write(words.join(" ") + "\n");
}

function lost(reason) {
  if (!told)
    say(connected ? "lost" : "refused", reason);
  told = true;
}

const settings = {
  protocolVersion: Number(version),
  protocolId: version === "3" ? "MQIsdp" : "MQTT",
  clientId: id,
  clean: clean === "1",
  reconnectPeriod: 0,
  connectTimeout: 20000,
};
if (version === "5" && expiry !== "0")
  settings.properties = {sessionExpiryInterval: Number(expiry)};
if (will !== "-")
  settings.will = {topic: will, payload: Buffer.from("gone"), qos: 1, retain: false};
if (ca !== "-")
  settings.ca = fs.readFileSync(ca);
if (cert !== "-")
  Object.assign(settings, {cert: fs.readFileSync(cert), key: fs.readFileSync(key)});

const secure = ca === "-" ? "" : "s";
const client = mqtt.connect(`${scheme}${secure}://127.0.0.1:${port}${scheme === "ws" ? "/mqtt" : ""}`, settings);

client.on("connect", (connack) => {
  connected = true;
  say("connected", connack.sessionPresent ? 1 : 0);
});
client.on("error", (error) => lost(error.code || "error"));
client.on("disconnect", (packet) => lost(packet.reasonCode));
client.on("close", () => lost(client.disconnecting ? 0 : "closed"));
client.on("message", (topic, payload, packet) => {
  let words = payload.length ? payload.toString() : "-";
  if (payload.length > SHORT) {
    const path = `${folder}/message-${++files}`;
    fs.writeFileSync(path, payload);
    words = `@${path}`;
  }
  say("message", packet.qos, packet.retain ? 1 : 0, topic, words);
});

function payloadOf(words) {
  return words === "-" ? Buffer.alloc(0) : words[0] === "@" ? fs.readFileSync(words.slice(1)) : Buffer.from(words);
}

const commands = {
  sub: (qos, filter) => client.subscribe(filter, {qos: Number(qos)},
    (error, granted) => error ? say("failed", error.message) : say("done", granted[0].qos)),
  unsub: (filter) => client.unsubscribe(filter, (error) => say(error ? "failed" : "done", 0)),
  pub: (qos, retain, topic, words) => client.publish(topic, payloadOf(words), {qos: Number(qos), retain: retain === "1"},
    (error) => error ? say("failed", error.message) : say("done", 0)),
  bye: () => client.end(),
};
readline.createInterface({input: process.stdin}).on("line", (line) => {
  const [name, ...words] = line.split(" ");
  commands[name](...words);
});
