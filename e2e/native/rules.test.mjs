// One rule table, every transport: random namespaces, grants and channels, and each transport must give the same answer, which is that of the
// rules as security.md tells them; `omnivox explain` too. E2E_SEED=N repeats one run.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { io } from 'socket.io-client';
import { connect } from '../lib/clients.mjs';
import { claims, secret, token } from '../lib/credentials.mjs';
import { within } from '../lib/inbox.mjs';
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

function written(key, namespaces) {
  const sections = namespaces.map(({ channels, protected: isProtected, anonymous, authenticated }) => `
[[namespace]]
channels = ${JSON.stringify(channels)}
protected = ${isProtected}
anonymous = ${list(anonymous)}
authenticated = ${list(authenticated)}
`);
  return `[server]\nlisten = ["127.0.0.1:0"]\n\n[[app]]\nid = "shop"\nopen = true\nsecret = "${key}"\n${sections.join('')}`;
}

/// Whether an answer says yes; anything but yes and "forbidden" is a defect.
function yes(status, text, where) {
  assert.ok([200, 201, 403, 401].includes(status), `${where}: ${status} ${text}`);
  // Mercure's first generation answers one word, as its reference does.
  if (status > 201 && !where.startsWith('/.well-known')) assert.match(text, /namespace|grant|does not allow|not allowed|may not|forbidden/i, `${where} names the rule: ${text}`);
  return status <= 201;
}

/// The answers of one person over every transport: { transport: { channel: { right: bool } } }.
async function answers(t, server, person, key) {
  const shown = person && token(key, claims({ sub: undefined, channels: person }));
  const headers = shown ? { authorization: `Bearer ${shown}` } : {};
  const socket = await connect(t, server.ws, { headers });
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
    note('ws', 'subscribe', says(await socket.subscribe(channel)));
    note('sse', 'subscribe', await http(`/v1/sse?channel=${name}`));
    note('poll', 'subscribe', await http(`/v1/poll?channel=${name}&timeout=0`));
    note('mercure', 'subscribe', await http(`/.well-known/mercure?topic=${name}`));
    note('ws', 'publish', says(await socket.call({ type: 'publish', channel, data: 1 })));
    note('http', 'publish', await http('/v1/publish', { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ channel, data: 1 }) }));
    if (shown) note('mercure', 'publish', await http('/.well-known/mercure', { method: 'POST', body: new URLSearchParams({ topic: channel, data: '1' }) }));
    note('ws', 'presence', says(await socket.call({ type: 'presence', channel })));
    note('http', 'presence', await http(`/v1/presence?channel=${name}`));
    for (const [transport, client] of Object.entries(clients)) {
      note(transport, 'subscribe', await acked(client, 'subscribe', channel));
      note(transport, 'publish', await acked(client, 'publish', channel, 'event', 1));
      note(transport, 'presence', await acked(client, 'presence', channel));
    }
    note('ws', 'history', says(await socket.call({ type: 'history', channel })));
    note('http', 'history', await http(`/v1/history?channel=${name}`));
    // To be given what was missed is to subscribe and to read history.
    note('sse since', 'subscribe history', await http(`/v1/sse?channel=${name}&since=earliest`));
    note('ws since', 'subscribe history', says(await socket.subscribe(channel, { since: 'earliest' })));
  }
  return found;
}

for (const seed of SEEDS) {
  test(`every transport gives the answer of the rules (seed ${seed})`, async (t) => {
    const key = secret();
    const { namespaces, ruled, people } = world(seed);
    const settings = written(key, namespaces);
    const server = await omnivox(t, { settings });
    let checked = 0;
    const seen = { true: 0, false: 0 };
    for (const person of people) {
      for (const { transport, channel, right, answer } of await answers(t, server, person, key)) {
        const expected = right.split(' ').every((one) => allowed(ruled, person, channel, one));
        const words = `seed ${seed}, ${transport}: ${right} of ${channel} for ${JSON.stringify(person)} under ${JSON.stringify(namespaces)}`;
        assert.equal(answer, expected, words);
        checked += 1;
        seen[answer] += 1;
      }
    }
    assert.ok(checked > 400 && seen.true > 20 && seen.false > 20, `both answers were seen: ${JSON.stringify(seen)}`);
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
