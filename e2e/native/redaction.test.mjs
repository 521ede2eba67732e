// No secret in any output: every kind of credential over every dialect, right and wrong ones, and then every byte that the server wrote is
// searched: its log, its answers, its metrics and its traces.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { io } from 'socket.io-client';
import { connect } from '../lib/clients.mjs';
import { collector } from '../lib/collector.mjs';
import { basic, claims, hmac, secret, token } from '../lib/credentials.mjs';
import { within } from '../lib/inbox.mjs';
import { BINARY, omnivox } from '../lib/omnivox.mjs';

test('logs, errors, metrics and traces hold no credential', async (t) => {
  const key = secret();
  const further = secret();
  const relay = secret();
  const publisher = secret();
  const collecting = secret();
  const to = await collector(t);
  const settings = `
[server]
listen = ["127.0.0.1:0"]

[log]
level = "debug"

[turn]
udp = ["127.0.0.1:0"]
secrets = ["${relay}"]

[traces]
endpoint = "${to.url}"
headers = ["authorization=Bearer ${collecting}"]
batch_pause_ms = 20

[[app]]
id = "shop"
secret = "${key}"
allowed_origins = ["https://page.test"]
mercure_publisher_secrets = ["${publisher}"]

[[api_key]]
id = "writer"
secret = "${further}"
allow = ["*=publish"]
`;
  const server = await omnivox(t, { settings });
  const hidden = new Map([['the secret', key], ['a key\'s secret', further], ['the relay\'s secret', relay], ['a publisher\'s secret', publisher], ['the collector\'s header', collecting]]);
  const hide = (what, value) => { hidden.set(what, value); return value; };
  const answers = [];
  const ask = async (method, target, body, headers = {}) => {
    const { text, status, headers: answered, json } = await server.request(method, target, body, headers);
    answers.push([`${method} ${target.split('?')[0]}`, `${text}\n${JSON.stringify([...answered])}`]);
    return { status, json };
  };
  const history = '/v1/history?channel=a';
  const shown = (what, value) => [
    [what, value],
    [`a wrong ${what}`, `${value.slice(0, -6)}AAAAAA`],
  ];

  const base = token(key, claims({ jti: 'one' }));
  for (const [what, value] of shown('token', base)) {
    hide(what, value);
    const cookie = { cookie: `omnivox_token=${value}`, origin: 'https://page.test' };
    await ask('GET', history, undefined, { authorization: `Bearer ${value}` });
    await ask('GET', history, undefined, cookie);
    await ask('GET', history, undefined, { cookie: cookie.cookie, origin: 'https://evil.test' });
    await ask('GET', `${history}&ticket=${value}`);
    // Nobody should, and then it must not show either.
    await ask('GET', `${history}&token=${value}&access_token=${value}`);
    await ask('GET', `/nowhere/${value}`);
    await ask('GET', '/.well-known/mercure?topic=a&authorization=' + value.slice(0, -1));
    await ask('GET', '/.well-known/mercure?topic=a', undefined, { cookie: `mercureAuthorization=${value.slice(0, -1)}` });
    const socket = await connect(t, server.ws);
    const answer = await socket.call({ type: 'connect', token: value });
    answers.push(['first message', JSON.stringify(answer)]);
    const offered = await connect(t, server.ws, { protocols: ['omnivox', `omnivox.token.${value}`] }).catch((error) => error);
    answers.push(['subprotocol', String(offered.message ?? offered.ws.protocol)]);
    const client = io(server.url, { auth: { token: value }, transports: ['polling', 'websocket'], reconnection: false, forceNew: true });
    t.after(() => client.close());
    const came = await within(new Promise((resolve) => { client.on('connect', () => resolve('')); client.on('connect_error', resolve); }), 'Socket.IO');
    answers.push(['socket.io', String(came.message ?? '') + JSON.stringify(came.data ?? null)]);
    if (client.io.engine?.id) hide(`the sid with ${what}`, client.io.engine.id);
  }
  for (const [what, value] of shown('key', further)) {
    await ask('POST', '/v1/publish', { channel: 'a', data: 1 }, { authorization: basic('writer', hide(what, value)) });
  }
  const signature = hmac('shop', key, 'GET', history);
  hide('the signature', signature.split('v1=')[1]);
  await ask('GET', history, undefined, { authorization: signature });
  await ask('GET', history, undefined, { authorization: signature });
  for (let draw = 0; draw < 2; draw += 1) {
    const { json } = await server.post('/v1/ticket', undefined, { authorization: `Bearer ${base}` });
    hide(`ticket ${draw}`, json.ticket);
    await ask('GET', `${history}&ticket=${json.ticket}`);
    await ask('GET', `${history}&ticket=${json.ticket}`);
    await ask('GET', `/v1/sse?channel=a&ticket=${json.ticket}`);
  }
  const ice = await server.get('/v1/ice?channel=a', { authorization: `Bearer ${base}` });
  for (const { credential } of ice.json.iceServers ?? []) if (credential) hide('the relay credential', credential);
  for (const authorization of ['Bearer', `Digest ${base}`, `Basic ${base}`, `Omnivox-HMAC ${base}`]) await ask('GET', history, undefined, { authorization });
  await ask('GET', '/metrics', undefined, { authorization: basic('shop', key) });
  assert.equal((await ask('POST', '/v1/revoke', { token: 'one' }, { authorization: basic('shop', key) })).status, 200);
  await ask('GET', history, undefined, { authorization: `Bearer ${base}` });
  // A reload names what has changed, and a list of secrets is no exception.
  const file = server.child.spawnargs.at(-1);
  writeFileSync(file, readFileSync(file, 'utf8').replace(`secrets = ["${relay}"]`, `secrets = ["${hide('the relay\'s new secret', secret())}"]`));
  server.child.kill('SIGHUP');
  await server.printed(/turn\.secrets/);
  await server.stop();
  answers.push(['omnivox check', execFileSync(BINARY, ['check', '--config', file], { encoding: 'utf8' })]);
  const told = to.requests.map(({ url, body }) => `${url} ${body}`);
  assert.ok(told.join('').includes('POST /v1/publish') && to.requests.every(({ headers }) => headers.authorization === `Bearer ${collecting}`));
  told.forEach((text, number) => answers.push([`the collector, request ${number}`, text]));

  assert.ok(server.output.length > 200, 'the log at its most talkative says something');
  for (const [what, value] of hidden) {
    assert.ok(value.length >= 10, what);
    // The last part of a token is its signature: without that the rest is worth nothing, so that is what counts.
    const parts = value.split('.').length === 3 ? [value, value.split('.')[2]] : [value];
    for (const part of parts) {
      assert.ok(!server.output.includes(part), `the log shows ${what}`);
      for (const [where, text] of answers) {
        assert.ok(!text.includes(part), `an answer to ${where} shows ${what}`);
      }
    }
  }
});
