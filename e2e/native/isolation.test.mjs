// Two apps that share all names, and everything that a client can do, in an order that a seed gives: neither ever sees a byte of the other.
// Whatever somebody says carries its app's mark, and every byte that anybody receives is searched for the other's. E2E_SEED=N repeats one run.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { io } from 'socket.io-client';
import { connect } from '../lib/clients.mjs';
import { basic, claims, secret, token } from '../lib/credentials.mjs';
import { within } from '../lib/inbox.mjs';
import { omnivox } from '../lib/omnivox.mjs';

const SEEDS = process.env.E2E_SEED ? [Number(process.env.E2E_SEED)] : [1, 2, 3];
const CHANNELS = ['a', 'b', 'room', 'https://example.com/a'];
const STEPS = 60;

const settings = (apps) => `
[server]
listen = ["127.0.0.1:0"]

[mercure]
subscriptions = true
${apps.map(({ id, key }) => `
[[app]]
id = "${id}"
secret = "${key}"
`).join('')}`;

/// The parts of one app: its clients on every transport, and all that they received.
class Side {
  received = [];

  constructor(server, { id, key }) {
    Object.assign(this, { server, id, key });
    this.mark = `of-${id}-${secret().slice(0, 16)}`;
    const grants = { '*': ['subscribe', 'publish', 'presence', 'history'], '/.well-known/mercure/subscriptions*': ['subscribe'] };
    this.token = token(key, claims({ aud: id, jti: 'the same id', channels: grants, mercure: { subscribe: ['*'], publish: ['*'] }, info: { mark: this.mark } }));
    this.headers = { authorization: `Bearer ${this.token}` };
    this.manager = { authorization: basic(id, key) };
  }

  hear(where, what) {
    this.received.push([where, typeof what === 'string' ? what : JSON.stringify(what)]);
  }

  async ask(method, target, body, headers = this.headers) {
    const { status, text, json } = await this.server.request(method, target, body, headers);
    this.hear(`${method} ${target}`, text);
    return { status, json };
  }

  async open(t) {
    this.socket = await connect(t, this.server.ws, { headers: this.headers });
    this.socket.ws.on('message', (data) => this.hear('ws', data.toString()));
    for (const channel of CHANNELS) await this.socket.subscribe(channel, { presence: true });
    await this.socket.call({ type: 'subscribe', pattern: '*' });
    this.client = io(this.server.url, { auth: { token: this.token }, forceNew: true, reconnection: false });
    t.after(() => this.client.close());
    this.client.onAny((...event) => this.hear('socket.io', event));
    await within(new Promise((resolve, reject) => { this.client.on('connect', resolve); this.client.on('connect_error', reject); }), 'Socket.IO');
    for (const channel of CHANNELS) this.hear('join', await this.client.timeout(15_000).emitWithAck('join', { room: channel, presence: true }));
    const topics = CHANNELS.map((channel) => `channel=${encodeURIComponent(channel)}`).join('&');
    await this.follow(t, `/v1/sse?${topics}&presence=1`);
    await this.follow(t, '/v1/sse?pattern=*');
    await this.follow(t, '/.well-known/mercure?topic=*');
    await this.follow(t, '/.well-known/mercure?topic=%2F.well-known%2Fmercure%2Fsubscriptions%7B%2Ftopic%7D%7B%2Fsubscriber%7D');
  }

  /// Reads a stream until the end of the test, and keeps all of it.
  async follow(t, target) {
    const leaves = new AbortController();
    t.after(() => leaves.abort());
    const response = await fetch(this.server.url + target, { headers: this.headers, signal: leaves.signal });
    assert.equal(response.status, 200, target);
    const decoder = new TextDecoder();
    (async () => {
      for await (const chunk of response.body) this.hear(target, decoder.decode(chunk, { stream: true }));
    })().catch(() => {});
  }

  /// One random deed. `other` is the other app, whose marks and ids are tried.
  async act(roll, other) {
    const channel = CHANNELS[roll(CHANNELS.length)];
    const name = encodeURIComponent(channel);
    const data = `${this.mark} ${roll(1000)}`;
    const foreign = other.lastId ? encodeURIComponent(other.lastId) : 'earliest';
    const deeds = [
      async () => { this.lastId = (await this.ask('POST', '/v1/publish', { channel, data, id: `same-${roll(5)}` })).json.id; },
      async () => { this.hear('publish', await this.socket.call({ type: 'publish', channel, data })); },
      async () => { this.hear('emit', await this.client.timeout(15_000).emitWithAck('publish', channel, 'event', data)); },
      async () => { await this.ask('POST', '/.well-known/mercure', new URLSearchParams({ topic: channel, data, id: `urn:same-${roll(3)}` }).toString(), { ...this.headers, 'content-type': 'application/x-www-form-urlencoded' }); },
      async () => { this.hear('enter', await this.socket.call({ type: 'enter', channel, key: 'me', data: { mark: this.mark } })); },
      async () => { this.hear('leave', await this.socket.call({ type: 'leave', channel, key: 'me' })); },
      async () => { this.hear('seat', await this.socket.call({ type: 'enter', channel: 'room', seat: 'the same secret of both', data: { mark: this.mark } })); },
      async () => { this.hear('presence', await this.socket.call({ type: 'presence', channel })); },
      () => this.ask('GET', `/v1/presence?channel=${name}`),
      () => this.ask('GET', `/v1/history?channel=${name}&limit=1000`),
      () => this.ask('GET', `/v1/history?channel=${name}&since=${foreign}`),
      () => this.ask('GET', `/v1/poll?channel=${name}&timeout=0&last=${foreign}`),
      () => this.ask('GET', '/v1/poll?pattern=*&timeout=0&last=earliest'),
      () => this.ask('GET', '/.well-known/mercure/subscriptions'),
      () => this.ask('GET', '/v1/channels', undefined, this.manager),
      () => this.ask('GET', '/v1/connections?user=ana', undefined, this.manager),
      // The other's sessions are not this app's to end.
      async () => {
        const { json } = await other.ask('GET', '/v1/connections?user=ana', undefined, other.manager);
        const [session] = json.connections;
        if (session) await this.ask('POST', '/v1/disconnect', { session: session.session }, this.manager);
      },
    ];
    await deeds[roll(deeds.length)]();
  }
}

for (const seed of SEEDS) {
  test(`two apps with the same names never see each other (seed ${seed})`, async (t) => {
    let state = seed;
    const roll = (sides) => {
      state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
      return (state >>> 8) % sides;
    };
    const apps = ['left', 'right'].map((id) => ({ id, key: secret() }));
    const server = await omnivox(t, { settings: settings(apps) });
    const [left, right] = apps.map((app) => new Side(server, app));
    await left.open(t);
    await right.open(t);
    for (let step = 0; step < STEPS; step += 1) {
      const [actor, other] = roll(2) === 0 ? [left, right] : [right, left];
      await actor.act(roll, other);
    }
    for (const side of [left, right]) {
      // The last word has come over every way when the WebSocket has it, whoever else was slower is read to the end below.
      const last = `${side.mark} the end`;
      await side.ask('POST', '/v1/publish', { channel: 'a', data: last });
      await side.socket.inbox.next((item) => item.data === last, 'the last word');
      await within((async () => {
        while (!['/v1/sse?pattern=*', 'socket.io'].every((where) => side.received.some(([at, text]) => at === where && text.includes(last)))) {
          await new Promise((resolve) => { setImmediate(resolve); });
        }
      })(), 'the last word on the streams');
    }
    for (const [side, other] of [[left, right], [right, left]]) {
      assert.ok(side.received.filter(([, text]) => text.includes(side.mark)).length > 10, `seed ${seed}: ${side.id} sees its own`);
      for (const [where, text] of side.received) {
        assert.ok(!text.includes(other.mark), `seed ${seed}: ${side.id} sees the other by ${where}: ${text}`);
      }
      assert.equal((await side.socket.call({ type: 'ping' })).type, 'pong', `seed ${seed}: nobody of the other app ended ${side.id}`);
    }
    const { text } = await server.get('/metrics');
    for (const name of [...CHANNELS.slice(2), 'ana', left.id, left.mark, right.mark]) {
      assert.ok(!text.includes(`"${name}"`) && !text.includes(left.mark), `metrics name nobody: ${name}`);
    }
    // Both have a user `ana` with a token of the same id; what one back end revokes the other does not.
    for (const whom of [{ token: 'the same id' }, { user: 'ana' }]) {
      assert.equal((await left.ask('POST', '/v1/revoke', whom, left.manager)).status, 200);
    }
    assert.equal((await within(left.socket.closed, 'the revoked one to be ended')).code, 4403);
    assert.equal((await left.ask('GET', '/v1/history?channel=a')).status, 401);
    assert.equal((await right.socket.call({ type: 'ping' })).type, 'pong', `seed ${seed}: the other's ana stays`);
    assert.equal((await right.ask('GET', '/v1/history?channel=a')).status, 200);
  });
}
