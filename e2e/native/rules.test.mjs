// One rule table, every transport: random namespaces, grants and channels, and each transport must give the same answer, which is that of the
// rules as security.md tells them; `omnivox explain` too. E2E_SEED=N repeats one run.
// parts: openssl

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { io } from 'socket.io-client';
import WebSocket from 'ws';
import { certificate, tlsSection } from '../lib/certificates.mjs';
import { connect } from '../lib/clients.mjs';
import { claims, secret, token } from '../lib/credentials.mjs';
import { connectHttp2 } from '../lib/http2.mjs';
import { Inbox, within } from '../lib/inbox.mjs';
import { BINARY, cleanEnvironment, omnivox } from '../lib/omnivox.mjs';
import { folder } from '../lib/programs.mjs';

const SEEDS = process.env.E2E_SEED ? [Number(process.env.E2E_SEED)] : [1, 2, 3];
const PATTERNS = ['*', 'chat:*', 'chat:vip*', 'news', 'private-*', 'private-ana', 'team-*', '$*', 'c*', 'p*'];
const CHANNELS = ['chat:a', 'chat:vip1', 'news', 'private-ana', 'private-x', 'team-1', '$sys', 'else'];
const RIGHTS = ['subscribe', 'publish', 'presence', 'history'];

/// A small generator of numbers that a seed repeats (mulberry32).
function dice(seed) {
  let state = seed;
  const roll = (sides) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % sides;
  };
  const some = (list, chance) => list.filter(() => roll(100) < chance);
  return { roll, some };
}

const prefix = (pattern) => (pattern.endsWith('*') ? pattern.slice(0, -1) : pattern);
const matches = (pattern, channel) => (pattern.endsWith('*') ? channel.startsWith(prefix(pattern)) : channel === pattern);

/// The rules, said once more in another language.
function allowed(namespaces, grants, channel, right) {
  const namespace = namespaces.filter(({ channels }) => matches(channels, channel)).sort((a, b) => prefix(b.channels).length - prefix(a.channels).length)[0];
  if (namespace.anonymous.includes(right)) return true;
  if (grants === null) return false;
  if (namespace.authenticated.includes(right)) return true;
  return Object.entries(grants).some(([pattern, rights]) =>
    rights.includes(right) && matches(pattern, channel) && (!namespace.protected || prefix(pattern).startsWith(prefix(namespace.channels))));
}

function world(seed) {
  const { roll, some } = dice(seed);
  const chosen = new Set(['*', ...some(PATTERNS, 50)]);
  const namespaces = [...chosen].map((channels) => ({
    channels, protected: channels !== '*' && roll(2) === 0, anonymous: some(RIGHTS, 25), authenticated: some(RIGHTS, 25),
  }));
  const builtIn = ['private-*', 'presence-*', '$*', '#*'].filter((channels) => !chosen.has(channels));
  const ruled = [...namespaces, ...builtIn.map((channels) => ({ channels, protected: true, anonymous: [], authenticated: [] }))];
  const people = [null, ...Array.from({ length: 3 }, () => Object.fromEntries(some(PATTERNS, 35).map((pattern) => [pattern, some(RIGHTS, 60)])))];
  return { namespaces, ruled, people };
}

const list = (items) => `[${items.map((item) => JSON.stringify(item)).join(', ')}]`;

function written(key, namespaces, files) {
  const sections = namespaces.map(({ channels, protected: isProtected, anonymous, authenticated }) => `
[[namespace]]
channels = ${JSON.stringify(channels)}
protected = ${isProtected}
anonymous = ${list(anonymous)}
authenticated = ${list(authenticated)}
`);
  return `[server]\nlisten = ["127.0.0.1:0"]\n\n[[app]]\nid = "shop"\nopen = true\nsecret = "${key}"\n${sections.join('')}\n${tlsSection(files)}`;
}

/// Whether an answer says yes; anything but yes and "forbidden" is a defect.
function yes(status, text, where) {
  assert.ok([200, 201, 403, 401].includes(status), `${where}: ${status} ${text}`);
  // Mercure's first generation answers one word, as its reference does.
  if (status > 201 && !where.startsWith('/.well-known')) assert.match(text, /namespace|grant|does not allow|not allowed|may not|forbidden/i, `${where} names the rule: ${text}`);
  return status <= 201;
}

/// The answers of one person over every transport: { transport: { channel: { right: bool } } }.
async function answers(t, server, person, key, second) {
  const shown = person && token(key, claims({ sub: undefined, channels: person }));
  const headers = shown ? { authorization: `Bearer ${shown}` } : {};
  const socket = await connect(t, server.ws, { headers });
  const socketOverHttp2 = await connect(t, second.webSocket('/v1/ws', headers));
  const clients = {};
  for (const transport of ['websocket', 'polling']) {
    const client = io(server.url, { auth: shown ? { token: shown } : {}, reconnection: false, forceNew: true, transports: [transport] });
    t.after(() => client.close());
    await within(new Promise((resolve, reject) => { client.on('connect', resolve); client.on('connect_error', reject); }), `Socket.IO over ${transport}`);
    clients[`socket.io over ${transport}`] = client;
  }
  const http = async (target, options = {}) => {
    const leaves = new AbortController();
    const response = await fetch(server.url + target, { ...options, headers: { ...headers, ...options.headers }, signal: leaves.signal });
    const text = response.status === 200 && /event-stream/.test(response.headers.get('content-type')) ? '' : await response.text();
    leaves.abort();
    return yes(response.status, text, target);
  };
  const http2 = async (target, { method = 'GET', headers: more = {}, body } = {}) => {
    const { status, text } = await second.request(method, target, { ...headers, ...more }, body);
    return yes(status, text, target);
  };
  const says = (answer) => {
    if (answer.type === 'error') assert.equal(answer.code, 'forbidden', JSON.stringify(answer));
    return answer.type !== 'error';
  };
  const acked = async (client, ...event) => {
    const answer = await client.timeout(15_000).emitWithAck(...event);
    if (!answer.ok) assert.equal(answer.error.code, 'forbidden', JSON.stringify(answer));
    return answer.ok;
  };
  const found = [];
  for (const channel of CHANNELS) {
    const name = encodeURIComponent(channel);
    const note = (transport, right, answer) => found.push({ transport, channel, right, answer });
    const json = { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ channel, data: 1 }) };
    const form = { method: 'POST', headers: { 'content-type': 'application/x-www-form-urlencoded' }, body: new URLSearchParams({ topic: channel, data: '1' }) };
    for (const [over, ask, live] of [['', http, socket], [' over HTTP/2', http2, socketOverHttp2]]) {
      note(`ws${over}`, 'subscribe', says(await live.subscribe(channel)));
      note(`sse${over}`, 'subscribe', await ask(`/v1/sse?channel=${name}`));
      note(`poll${over}`, 'subscribe', await ask(`/v1/poll?channel=${name}&timeout=0`));
      note(`mercure${over}`, 'subscribe', await ask(`/.well-known/mercure?topic=${name}`));
      note(`ws${over}`, 'publish', says(await live.call({ type: 'publish', channel, data: 1 })));
      note(`http${over}`, 'publish', await ask('/v1/publish', json));
      if (shown) note(`mercure${over}`, 'publish', await ask('/.well-known/mercure', form));
      note(`ws${over}`, 'presence', says(await live.call({ type: 'presence', channel })));
      note(`http${over}`, 'presence', await ask(`/v1/presence?channel=${name}`));
    }
    for (const [transport, client] of Object.entries(clients)) {
      note(transport, 'subscribe', await acked(client, 'subscribe', channel));
      note(transport, 'publish', await acked(client, 'publish', channel, 'event', 1));
      note(transport, 'presence', await acked(client, 'presence', channel));
    }
    for (const [over, ask, live] of [['', http, socket], [' over HTTP/2', http2, socketOverHttp2]]) {
      note(`ws${over}`, 'history', says(await live.call({ type: 'history', channel })));
      note(`http${over}`, 'history', await ask(`/v1/history?channel=${name}`));
      // To be given what was missed is to subscribe and to read history.
      note(`sse since${over}`, 'subscribe history', await ask(`/v1/sse?channel=${name}&since=earliest`));
      note(`ws since${over}`, 'subscribe history', says(await live.subscribe(channel, { since: 'earliest' })));
    }
  }
  // A client of PeerJS has no way to show a credential, and one channel: there it takes a seat, which is to be present.
  if (!shown) found.push({ transport: 'peerjs', channel: 'peerjs', right: 'presence', answer: await opensAsPeer(t, server) });
  return found;
}

/// Whether somebody may be a peer.
async function opensAsPeer(t, server) {
  const peer = new WebSocket(`${server.url.replace('http', 'ws')}/peerjs/peerjs?key=peerjs&id=ana&token=a-token-of-ana`);
  t.after(() => peer.terminate());
  const told = new Inbox();
  peer.on('message', (text) => told.push(JSON.parse(text))).on('error', (error) => told.close(error.message));
  const { type, payload } = await told.next();
  if (type !== 'OPEN') assert.match(payload.msg, /presence is not allowed for channel `peerjs`/);
  return type === 'OPEN';
}

for (const seed of SEEDS) {
  test(`every transport gives the answer of the rules (seed ${seed})`, async (t) => {
    const key = secret();
    const { namespaces, ruled, people } = world(seed);
    const files = certificate(t);
    const settings = written(key, namespaces, files);
    const server = await omnivox(t, { settings });
    const [, port] = await server.printed(/https:\/\/127\.0\.0\.1:(\d+)/);
    const second = await connectHttp2(t, port, files);
    let checked = 0;
    const seen = { true: 0, false: 0 };
    for (const person of people) {
      for (const { transport, channel, right, answer } of await answers(t, server, person, key, second)) {
        const expected = right.split(' ').every((one) => allowed(ruled, person, channel, one));
        const words = `seed ${seed}, ${transport}: ${right} of ${channel} for ${JSON.stringify(person)} under ${JSON.stringify(namespaces)}`;
        assert.equal(answer, expected, words);
        checked += 1;
        seen[answer] += 1;
      }
    }
    assert.ok(checked > 700 && seen.true > 20 && seen.false > 20, `both answers were seen: ${JSON.stringify(seen)}`);
    const file = path.join(folder(t), 'omnivox.toml');
    writeFileSync(file, settings);
    const person = people[1];
    const shown = token(key, claims({ sub: undefined, channels: person }));
    for (const channel of CHANNELS) {
      const { stdout } = await promisify(execFile)(BINARY, ['explain', '--config', file, '--channel', channel, '--token', shown], { env: cleanEnvironment() });
      for (const right of RIGHTS) {
        const word = stdout.match(new RegExp(`^ *${right} +(yes|no) `, 'm'))?.[1];
        assert.equal(word, allowed(ruled, person, channel, right) ? 'yes' : 'no', `seed ${seed}: explain ${right} of ${channel}:\n${stdout}`);
      }
    }
  });
}
