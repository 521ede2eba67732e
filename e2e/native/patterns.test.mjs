// A pattern brings what its subscriber may receive of the channels that it means, and tells of no other: live, from history and in presence.

import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { test } from 'node:test';
import { Socket, rawStream } from '../lib/clients.mjs';
import { within } from '../lib/inbox.mjs';
import { omnivox } from '../lib/omnivox.mjs';

const SECRET = 'the app has this secret, long enough for HS256';
const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');

function token(channels) {
  const signed = `${part({ alg: 'HS256', typ: 'JWT' })}.${part({ exp: Math.floor(Date.now() / 1000) + 600, channels })}`;
  return `${signed}.${createHmac('sha256', SECRET).update(signed).digest('base64url')}`;
}

const STAFF = token({ 'staff:*': ['subscribe', 'history', 'presence'] });
const BACK_END = token({ '*': '*', 'private-*': '*' });
const ALL = ['chat:1', 'staff:1', 'private-1', 'end'];

async function server(t) {
  return omnivox(t, {
    settings: `
[server]
listen = ["127.0.0.1:0"]

[[app]]
id = "demo"
open = true
secret = "${SECRET}"

[[namespace]]
channels = "chat:*"
anonymous = ["subscribe", "history", "presence"]

[[namespace]]
channels = "end"
anonymous = ["subscribe", "history", "presence"]
`,
  });
}

async function publishAll(at) {
  for (const channel of ALL) {
    const { status } = await at.request('POST', '/v1/publish', JSON.stringify({ channel, data: channel }), {
      'content-type': 'application/json', authorization: `Bearer ${BACK_END}`,
    });
    assert.equal(status, 200, channel);
  }
}

/// Everyone who follows everything: a way to do it, and what arrives up to the last publication.
async function followers(t, at, bearer, since) {
  const headers = bearer ? { authorization: `Bearer ${bearer}` } : {};
  const socket = new Socket(t, `${at.url.replace('http', 'ws')}/v1/ws`, { headers });
  await within(socket.opened, 'a WebSocket');
  assert.equal((await socket.call({ type: 'subscribe', pattern: '*', ...(since && { since }) })).type, 'subscribed');
  const events = await rawStream(t, `${at.url}/v1/sse?pattern=*${since ? `&since=${since}` : ''}`, { headers });
  await events.inbox.next((block) => block.startsWith('id:') && !block.includes('data:'), 'the place of the stream');
  const updates = await rawStream(t, `${at.url}/.well-known/mercure?topic=*${since ? `&lastEventID=${since}` : ''}`, { headers });
  const first = since ?? (await (await fetch(`${at.url}/v1/poll?pattern=*&timeout=0`, { headers })).json()).last;
  const poll = async () => {
    const seen = [];
    for (let last = first; seen.at(-1) !== 'end';) {
      const answer = await (await fetch(`${at.url}/v1/poll?pattern=*&last=${last}`, { headers })).json();
      seen.push(...answer.events.map(({ data }) => data));
      last = answer.last;
    }
    return seen;
  };
  const upTo = async (next) => {
    const seen = [];
    while (seen.at(-1) !== 'end') seen.push(await next());
    return seen;
  };
  const data = (block) => block.match(/^data: (.*)$/m)[1];
  return {
    WebSocket: () => upTo(async () => (await socket.next({ type: 'message' })).data),
    'event stream': () => upTo(async () => JSON.parse(data(await events.inbox.next((block) => block.includes('"data"')))).data),
    poll,
    Mercure: () => upTo(async () => JSON.parse(data(await updates.inbox.next((block) => block.includes('data:'))))),
  };
}

test('grants hold for patterns, live and from history', async (t) => {
  const at = await server(t);
  const before = (await (await fetch(`${at.url}/v1/poll?pattern=*&timeout=0`)).json()).last;
  for (const since of [undefined, before]) {
    for (const [who, bearer, expected] of [
      ['nobody', undefined, ['chat:1', 'end']],
      ['staff', STAFF, ['chat:1', 'staff:1', 'end']],
      ['a back end', BACK_END, ALL],
    ]) {
      if (since) await at.request('POST', '/v1/publish', '{"channel":"chat:1","data":"x"}', { 'content-type': 'application/json', authorization: `Bearer ${BACK_END}` });
      const mark = since && (await (await fetch(`${at.url}/v1/poll?pattern=*&timeout=0`)).json()).last;
      // Live: they are there before; from history: they come when all is published.
      const there = since ? undefined : await followers(t, at, bearer);
      await publishAll(at);
      const all = there ?? (await followers(t, at, bearer, mark));
      for (const [how, seen] of Object.entries(all)) assert.deepEqual(await seen(), expected, `${who} by ${how} ${since ? 'from history' : 'live'}`);
    }
  }
});

test('presence comes to patterns from the channels where it may be seen', async (t) => {
  const at = await server(t);
  const raw = await rawStream(t, `${at.url}/v1/sse?pattern=*&presence=1`);
  await raw.inbox.next((block) => block.startsWith('id:'), 'the place of the stream');
  const member = new Socket(t, `${at.url.replace('http', 'ws')}/v1/ws`, { headers: { authorization: `Bearer ${BACK_END}` } });
  await within(member.opened, 'a WebSocket');
  for (const channel of ALL) assert.equal((await member.call({ type: 'enter', channel, data: 1 })).type, 'entered');
  const seen = [];
  while (seen.at(-1) !== 'end') seen.push(JSON.parse((await raw.inbox.next((block) => block.includes('"presence"'))).match(/^data: (.*)$/m)[1]).channel);
  assert.deepEqual(seen, ['chat:1', 'end']);
});
