// Every client through a proxy that cuts at random bytes: it always comes back, and what it was promised is there, once and in order.
// parts: python
// budget: 120 s
//
// `SEED=7 node --test socketio/cuts.test.mjs` plays another course of cuts.

import assert from 'node:assert/strict';
import path from 'node:path';
import { test } from 'node:test';
import { cuttingProxy, random } from '../lib/cutting-proxy.mjs';
import { until } from '../lib/inbox.mjs';
import { ROOT, omnivox } from '../lib/omnivox.mjs';
import { program } from '../lib/programs.mjs';
import { OPEN } from '../lib/settings.mjs';
import { CLIENTS, ENGINE3, NEWEST, TRANSPORTS, connect } from '../lib/socketio.mjs';

const SEED = Number(process.env.SEED ?? 20_261_122);
const MESSAGES = 160;
// python-socketio names an origin as a browser does.
const SETTINGS = OPEN.replace('open = true', 'open = true\nallowed_origins = ["*"]') + ENGINE3;
const PYTHON = path.join(ROOT, 'target/venv/bin/python');

/// What a client has of the room, connection by connection.
///
/// Kinds: `recovers` has connection state recovery; `resumes` joins with the place of the newest event that it has (`since`);
/// `joins` starts anew.
class Follower {
  connections = [];
  place = null;

  constructor(kind) { this.kind = kind; }

  connected() { this.connections.push({ seen: [], from: null }); }

  /// `next` is the first number that was not published yet when the answer came.
  joined(answer, next) {
    assert.equal(answer.ok, true, JSON.stringify(answer));
    assert.equal(answer.gap, false, 'everything is still kept');
    this.connections.at(-1).from = next;
  }

  heard(number) { this.connections.at(-1).seen.push(number); }

  get newest() { return this.connections.findLast(({ seen }) => seen.length > 0)?.seen.at(-1); }

  /// Whether nothing is on its way to it: it has the newest, or came when that was published already and does not ask for it.
  settled(next) {
    return this.newest === next - 1 || (this.kind === 'joins' && this.connections.at(-1)?.from === next);
  }

  check(next, exactly) {
    const all = Array.from({ length: next }, (_, number) => number);
    for (const { seen, from } of this.connections) {
      assert.deepEqual(seen, all.slice(seen[0], seen[0] + seen.length), 'within a connection: in order, none twice, none missing');
      if (this.kind === 'joins' && seen.length > 0) assert.ok(seen[0] <= from, `joined before ${from} was published, heard ${seen[0]} first`);
    }
    const heard = this.connections.flatMap(({ seen }) => seen);
    if (this.kind === 'recovers') assert.equal(this.connections.length, 1, 'every reconnect was a recovery');
    if (this.kind !== 'joins') assert.deepEqual(exactly ? heard : [...new Set(heard)].sort((one, other) => one - other), all, 'nothing is lost');
  }
}

/// Followers that are clients of this process.
async function followers(t, client, url, options, kinds, next) {
  return Promise.all(kinds.map(async (kind) => {
    const { socket } = await connect(t, client, url, options);
    const follower = new Follower(kind);
    // The library keeps what came of a recovery that was cut off itself, and would show it twice.
    if (kind === 'recovers') socket.io.on('close', () => { socket.receiveBuffer = []; });
    const connected = () => {
      if (socket.recovered) return;
      follower.connected();
      const since = kind === 'resumes' && follower.place ? { since: follower.place } : {};
      socket.emit('join', { room: 'general', ...since }, (answer) => {
        follower.place = answer.offset;
        follower.joined(answer, next());
      });
    };
    socket.on('tick', (number, place) => {
      // Clients of Engine.IO 3 are told a place by the answer only.
      if (typeof place === 'string') follower.place = place;
      follower.heard(number);
    });
    socket.on('connect', connected);
    connected();
    return follower;
  }));
}

/// Followers that are clients of a Python program.
function pythonFollowers(t, url, transports, kinds, next) {
  const all = kinds.map((kind) => new Follower(kind));
  const { child } = program(t, PYTHON, [path.join(ROOT, 'e2e/socketio/follower.py'), url, transports, ...kinds]);
  let rest = '';
  child.stdout.on('data', (text) => {
    const lines = (rest + text).split('\n');
    rest = lines.pop();
    for (const [number, what, value] of lines.map((line) => JSON.parse(line))) {
      if (what === 'connect') all[number].connected();
      if (what === 'joined') all[number].joined(value, next());
      if (what === 'tick') all[number].heard(value);
    }
  });
  return all;
}

async function cutAtRandom(t, { bytes, settings = '', exactly = true }, start) {
  const server = await omnivox(t, { settings: SETTINGS + settings });
  const [bytesMin, bytesMax] = bytes;
  const proxy = await cuttingProxy(t, { port: server.port, seed: SEED, bytesMin, bytesMax });
  const draw = random(SEED);
  proxy.cutting = false;
  let number = 0;
  const all = await start(proxy.url, () => number);
  const publish = () => server.publish('general', number++, { event: 'tick' });
  const settled = () => until(() => all.every((one) => one.settled(number)), 'everyone has what is due', 30_000).catch((error) => {
    throw new Error(`${error.message}: ${number} published; ${JSON.stringify(all.map(({ kind, connections }) => [kind, connections.slice(-2)]))}`);
  });

  await until(() => all.every(({ connections }) => connections[0]?.from === 0), 'everyone is in the room');
  await publish();
  await settled();
  proxy.cutting = true;
  while (number < MESSAGES) {
    await publish();
    if (draw() < 0.04) proxy.cutAll();
    // All publishing at once would be over before the first is cut.
    if (number % 10 === 0) await settled();
  }
  proxy.calm();
  // One that was cut at the very end and does not ask for what it missed needs one more.
  do {
    await publish();
    await settled();
  } while (!all.every((one) => one.newest === number - 1));

  for (const one of all) one.check(number, exactly);
  assert.ok(proxy.cuts >= 6, `only ${proxy.cuts} cuts`);
  t.diagnostic(`${proxy.cuts} cuts; connections of each: ${all.map(({ kind, connections }) => `${kind} ${connections.length}`).join(', ')}`);
}

const WITHOUT_RECOVERY = ['resumes', 'resumes', 'joins'];

for (const client of CLIENTS) {
  const kinds = client === NEWEST ? ['recovers', 'recovers', 'recovers'] : WITHOUT_RECOVERY;
  for (const [transport, options] of TRANSPORTS) {
    // A poll is a connection of its own and carries little.
    let bytes = transport === 'polling' ? [200, 3000] : [600, 2000];
    // Without places behind its events a client gets again what it had since it joined: that must fit between two cuts.
    if (client.engine3) bytes = [bytes[0], 6000];
    test(`${client.name}, ${transport} (SEED=${SEED})`, (t) => (
      cutAtRandom(t, { bytes, exactly: !client.engine3 }, (url, next) => followers(t, client, url, options, kinds, next))
    ));
  }
}

for (const transports of ['polling', 'websocket', 'polling,websocket']) {
  // It keeps the connections of its polls. After a POST that was cut it sends nothing any more, and comes back when the server has missed its pong.
  const bytes = transports === 'polling' ? [1000, 6000] : [600, 2000];
  const settings = 'ping_interval_ms = 500\nping_timeout_ms = 1000\n';
  test(`python-socketio, ${transports} (SEED=${SEED})`, (t) => (
    cutAtRandom(t, { bytes, settings }, (url, next) => pythonFollowers(t, url, transports, WITHOUT_RECOVERY, next))
  ));
}
