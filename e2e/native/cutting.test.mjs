// Connections cut at random bytes while publishing goes on: every client counts what was lost, doubled or out of order. Zero.
// budget: 240 s

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EventSource } from 'eventsource';
import WebSocket from 'ws';
import { cuttingProxy } from '../lib/cutting-proxy.mjs';
import { until } from '../lib/inbox.mjs';
import { omnivox } from '../lib/omnivox.mjs';

const MESSAGES = 600;
const SEED = Number(process.env.SEED ?? 20_261_122);

/// Checks one channel's numbers as they come: after the first, each is the one before it plus one.
class Sequence {
  newest = null;
  faults = [];
  gaps = 0;

  take(number) {
    if (this.newest !== null && number !== this.newest + 1) this.faults.push(`${number} after ${this.newest}`);
    this.newest = number;
  }
}

function runWebSocket(t, proxy, channels, sequences) {
  const marks = {};
  let ended = false;
  let current;
  t.after(() => { ended = true; current?.terminate(); });
  const open = () => {
    if (ended) return;
    current = new WebSocket(proxy.ws);
    current.on('open', () => {
      for (const channel of channels) current.send(JSON.stringify({ type: 'subscribe', channel, since: marks[channel] }));
    });
    current.on('message', (text) => {
      const message = JSON.parse(text);
      if (message.type === 'error') throw new Error(String(text));
      if (message.type === 'subscribed') {
        if (message.gap) sequences[message.channel].gaps += 1;
        marks[message.channel] ??= message.id;
      }
      if (message.type !== 'message') return;
      sequences[message.channel].take(message.data);
      marks[message.channel] = message.id;
    });
    current.on('error', () => {});
    current.on('close', open);
  };
  open();
}

function runEventSource(t, proxy, channels, sequences) {
  const query = channels.map((channel) => `channel=${channel}`).join('&');
  let mark = '';
  let ended = false;
  let source;
  t.after(() => { ended = true; source?.close(); });
  const open = () => {
    if (ended) return;
    // The test's own reconnect, so that no pause of a client library makes it long; the mark goes where a browser can put it.
    source = new EventSource(`${proxy.url}/sse?${query}${mark && `&lastEventId=${mark}`}`);
    source.onmessage = (event) => {
      const message = JSON.parse(event.data);
      sequences[message.channel].take(message.data);
      mark = event.lastEventId;
    };
    source.onerror = () => { source.close(); setImmediate(open); };
  };
  open();
}

function runPoll(t, proxy, channels, sequences) {
  const query = channels.map((channel) => `channel=${channel}`).join('&');
  let ended = false;
  t.after(() => { ended = true; });
  const run = async () => {
    let last = '';
    while (!ended) {
      try {
        const answer = await (await fetch(`${proxy.url}/poll?${query}&timeout=${last ? 5 : 0}${last && `&last=${last}`}`)).json();
        if (answer.gap) for (const channel of channels) sequences[channel].gaps += 1;
        for (const event of answer.events) sequences[event.channel].take(event.data);
        last = answer.last;
      } catch { /* cut: ask again with the same mark */ }
    }
  };
  run();
}

for (const [name, start] of [['WebSocket', runWebSocket], ['EventSource', runEventSource], ['poll', runPoll]]) {
  test(`${name}: nothing lost, doubled or out of order (SEED=${SEED})`, async (t) => {
    const server = await omnivox(t);
    const proxy = await cuttingProxy(t, { port: server.port, seed: SEED, bytesMin: 700, bytesMax: 5000 });
    const channels = ['a', 'b', 'c'];
    const clients = Array.from({ length: 4 }, () => Object.fromEntries(channels.map((channel) => [channel, new Sequence()])));
    proxy.cutting = false;
    for (const sequences of clients) start(t, proxy, channels, sequences);
    let number = 0;
    const announce = async () => {
      for (const channel of channels) await server.publish(channel, number);
      number += 1;
    };
    const all = (reached) => clients.every((sequences) => channels.every((channel) => reached(sequences[channel].newest)));
    await until(async () => { await announce(); return all((newest) => newest !== null); }, 'every client hears every channel');

    proxy.cutting = true;
    for (let count = 0; count < MESSAGES; count += 1) await announce();
    proxy.calm();
    proxy.cutAll();
    await until(() => all((newest) => newest === number - 1), 'the last number is everywhere', 60_000);
    for (const sequences of clients) {
      for (const channel of channels) assert.deepEqual([sequences[channel].faults, sequences[channel].gaps], [[], 0], channel);
    }
    assert.ok(proxy.cuts > 20, `only ${proxy.cuts} cuts`);
    t.diagnostic(`${proxy.cuts} cuts`);
  });
}
